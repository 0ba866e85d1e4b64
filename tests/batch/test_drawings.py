"""Annotated pictures beside the table: whose they are, where they lie, and that none is missing after a kill."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra [parquet])")

import pyarrow as pa
import pyarrow.parquet as pq
from helpers.batch_jobs import quiet
from helpers.paths import PHOTO

from acdc_fast import Model
from acdc_fast.batch import drawings
from acdc_fast.batch import job as batch
from acdc_fast.commands import cli
from acdc_fast.errors import InputError
from acdc_fast.photo.draw import draw_faces


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Different pictures of one face: of two formats, in two folders, one broken, one without a face."""
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    with Image.open(PHOTO) as photo:
        for i, name in enumerate(("a.jpg", "a.png", "A.webp", "sub/a.jpg", "z.tif")):
            photo.crop((100 + 5 * i, 0, 340 + 5 * i, 200)).save(root / name)
    Image.new("RGB", (40, 30), (9, 9, 9)).save(root / "m.bmp")
    (root / "broken.jpg").write_bytes(b"no picture")
    return root


DRAWN = {"a.jpg": "a-2.png", "a.png": "a-3.png", "A.webp": "A.png", "sub/a.jpg": "sub/a.png", "z.tif": "z.png",
         "m.bmp": "m.png"}  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def wanted(model: Model, path: Path) -> np.ndarray:
    return np.asarray(draw_faces(path, model.align(path)))


def test_each_picture_is_drawn_as_align_draws_it(pictures: Path, tmp_path: Path, model: Model) -> None:
    draw, out = tmp_path / "drawn", tmp_path / "o.parquet"
    tally = batch.run_batch(model, str(pictures), str(out), note=quiet, draw=str(draw))
    assert (tally.rows, tally.broken) == (7, 1) and tally.faces >= 5
    assert set(files(draw)) == set(DRAWN.values())
    for name, place in DRAWN.items():
        with Image.open(draw / place) as drawn, Image.open(pictures / name) as plain:
            assert np.array_equal(np.asarray(drawn), wanted(model, pictures / name)), name
            assert np.array_equal(np.asarray(drawn), np.asarray(plain.convert("RGB"))) == (name == "m.bmp")
    batch.run_batch(model, str(pictures), str(tmp_path / "plain.parquet"), note=quiet)
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "plain.parquet"))


def test_lists_tars_and_tables(pictures: Path, tmp_path: Path, model: Model) -> None:
    """All of them below the folder, whatever their names are, each the picture of its own row."""
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for member, name in (("../../up.jpg", "a.jpg"), ("d/x.jpg", "z.tif"), ("d/x.jpg", "a.png")):
            buffer = io.BytesIO()
            Image.open(pictures / name).convert("RGB").save(buffer, "png")
            info = tarfile.TarInfo(member)
            info.size = len(buffer.getvalue())
            tar.addfile(info, io.BytesIO(buffer.getvalue()))
    paths = [str(pictures / "z.tif"), str(pictures / "a.png"), str(pictures / "z.tif")]
    pq.write_table(pa.table({"path": paths}), tmp_path / "paths.parquet")
    whole = [(pictures / name).read_bytes() for name in ("a.png", "broken.jpg", "z.tif")]
    pq.write_table(pa.table({"bytes": whole}), tmp_path / "bytes.parquet")
    sources = [str(tmp_path / name) for name in ("t.tar", "paths.parquet", "bytes.parquet", "in/a.jpg")]
    draw = tmp_path / "drawn"
    assert batch.run_batch(model, sources, str(tmp_path / "o.csv"), note=quiet, draw=str(draw)).rows == 10
    inside = str(pictures)[1:]
    expected = {
        "t.tar/up.png": "a.jpg", "t.tar/d/x.png": "z.tif", "t.tar/d/x-2.png": "a.png",
        f"{inside}/z.png": "z.tif", f"{inside}/a.png": "a.png", f"{inside}/z-2.png": "z.tif",
        "bytes.parquet#0.png": "a.png", "bytes.parquet#2.png": "z.tif", "a.png": "a.jpg",
    }  # fmt: skip
    assert set(files(draw)) == set(expected)
    for place, name in expected.items():
        with Image.open(draw / place) as drawn:
            assert np.array_equal(np.asarray(drawn), wanted(model, pictures / name)), place


def test_places_are_distinct_and_inside() -> None:
    names = ["a.jpg", "a-2.jpg", "a.png", "A.gif", "a.jpg", "/a.jpg", "..", "", "x.png/b.jpg", "x.png", "x.png_/b.jpg",
             "https://h/a?b=1", "n\0ul.jpg", "no.suffix", "\\udc80.jpg",
             "ü" * 300 + ".jpg", "ü" * 301 + ".jpg", "../x/../up.jpg"]  # fmt: skip
    places = drawings._places(names)
    assert places[:6] == ["a.png", "a-2.png", "a-3.png", "A-4.png", "a-5.png", "a-6.png"]
    assert len({place.casefold() for place in places}) == len(names)
    folders = {parent.as_posix() for place in places for parent in Path(place).parents}
    for place in places:
        parts = place.split("/")
        assert not {"", ".", ".."} & set(parts) and all(len(part.encode()) < 250 for part in parts)
        assert place.endswith(".png") and place not in folders and "\0" not in place
    assert len(drawings._places(["a.jpg"] * 50_000)) == 50_000  # in no time


@pytest.mark.parametrize("count", range(1, 7))
def test_what_is_taken_up_again_lacks_no_picture(count: int, pictures: Path, tmp_path: Path, model: Model) -> None:
    """The run ends while picture ``count`` is being drawn, in the middle of a part: what is kept has its pictures."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    batch.run_batch(model, str(pictures), str(tmp_path / "w.csv"), note=quiet, draw=str(whole))
    real, seen = drawings.draw_faces, []

    def torn(*given: object) -> Image.Image:
        seen.append(1)
        if len(seen) == count:
            raise KeyboardInterrupt
        return real(*given)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawings, "draw_faces", torn)
        with pytest.raises(KeyboardInterrupt):
            batch.run_batch(model, str(pictures), str(tmp_path / "o.csv"), part=3, note=quiet, draw=str(cut))
    left = files(cut)
    assert len(left) == count - 1 and all(files(whole)[name] == data for name, data in left.items())
    with pytest.raises(InputError, match=r"draw differ"):  # pictures of the parts that are done would be missing
        batch.run_batch(model, str(pictures), str(tmp_path / "o.csv"), note=quiet, draw=str(tmp_path / "other"))
    tally = batch.run_batch(model, str(pictures), str(tmp_path / "o.csv"), note=quiet, draw=str(cut))
    assert tally.rows == 7 and tally.resumed >= count - 1 and files(cut) == files(whole)
    assert (tmp_path / "o.csv").read_bytes() == (tmp_path / "w.csv").read_bytes()


def test_what_is_there_is_not_overwritten(pictures: Path, tmp_path: Path, model: Model) -> None:
    out, draw = str(tmp_path / "o.csv"), tmp_path / "drawn"
    draw.mkdir()
    (draw / "z.png").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"z\.png: is there already; --overwrite"):
        batch.run_batch(model, str(pictures), out, note=quiet, draw=str(draw))
    assert files(draw) == {"z.png": b"mine"} and sorted(os.listdir(tmp_path)) == ["drawn", "in"]
    before = files(pictures)
    for place in (pictures, pictures / "sub", pictures / "new"):
        with pytest.raises(InputError, match="where pictures are looked for"):
            batch.run_batch(model, str(pictures), out, note=quiet, overwrite=True, draw=str(place))
    with pytest.raises(InputError, match=r"a\.png: would overwrite a picture that is being read"):
        given = [str(pictures / "z.tif"), str(pictures / "a.jpg"), str(pictures / "a.png")]
        batch.run_batch(model, given, out, note=quiet, overwrite=True, draw=str(pictures))
    assert files(pictures) == before
    assert batch.run_batch(model, str(pictures), out, note=quiet, overwrite=True, draw=str(draw)).rows == 7
    assert set(files(draw)) == set(DRAWN.values())


def test_the_command(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["batch", str(pictures), "-o", str(tmp_path / "o.jsonl"), "--weights", "acdc-w16-fast", "--draw"]
    assert cli.main([*words, str(tmp_path / "d"), "--ray"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "leave out one of --draw and --ray" in said and not (tmp_path / "d").exists()
    assert cli.main([*words, str(tmp_path / "d")]) == 2  # a picture is broken
    assert set(files(tmp_path / "d")) == set(DRAWN.values())
    shutil.rmtree(tmp_path / "d")
    assert cli.main([*words, str(tmp_path / "d")]) == 2 and "done already" in capsys.readouterr().out
    assert cli.main([*words, str(tmp_path / "e")]) == 2 and "draw differ" in capsys.readouterr().err
    assert cli.main(words[:-1]) == 2 and "draw differ" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert cli.main([*words, str(tmp_path / "file"), "--overwrite"]) == 2
    assert f"{tmp_path / 'file'}: is a file, not a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        ("in/a.jpg", "is a file, not a folder"),
        ("o.csv", "the place of the output"),
        ("o.csv.parts", "the place of the output"),
    ],
)
def test_a_place_for_no_drawings_is_told_before_the_job_begins(
    pictures: Path, tmp_path: Path, model: Model, draw: str, said: str
) -> None:
    """Else the work that was begun would stand in the way of the right command."""
    before = files(tmp_path)
    with pytest.raises(InputError, match=said):
        batch.run_batch(model, str(pictures / "sub"), str(tmp_path / "o.csv"), note=quiet, draw=str(tmp_path / draw))
    assert files(tmp_path) == before and not (tmp_path / "o.csv.parts").exists()


def test_a_column_needs_a_table(pictures: Path, tmp_path: Path, model: Model) -> None:
    with pytest.raises(InputError, match="--column x is for parquet files"):
        batch.run_batch(model, str(pictures), str(tmp_path / "o.csv"), "x", note=quiet)
