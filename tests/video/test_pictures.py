"""A film that lies there as pictures: which ones, in which order, and what is said of those that are broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

av = pytest.importorskip("av", reason="PyAV is not installed (extra [video])")

from helpers.paths import PHOTO  # noqa: E402

from acdc_fast import Model  # noqa: E402
from acdc_fast.commands import cli  # noqa: E402
from acdc_fast.errors import InputError  # noqa: E402
from acdc_fast.readout.results import as_dict  # noqa: E402
from acdc_fast.video.films import run_video  # noqa: E402
from acdc_fast.video.pictures import Pictures, pictures_of  # noqa: E402

WEIGHTS = ["--weights", "acdc-w16-fast"]


def shade(i: int) -> np.ndarray:
    """(48, 64, 3) grey; its value tells which one it is."""
    return np.full((48, 64, 3), 20 + 20 * i, np.uint8)


def folder(place: Path, names: list[str]) -> Path:
    """Picture i has the i-th name and shade."""
    place.mkdir()
    for i, name in enumerate(names):
        Image.fromarray(shade(i)).save(place / name)
    return place


def seen(source: Path | str, rate: float = 25) -> tuple[list[tuple[int, float, int]], str | None]:
    """(which picture, time, its place) of each frame, and what is said at the end."""
    pictures = Pictures(str(source), *pictures_of(str(source)), rate)  # type: ignore[misc]
    frames = [((int(rgb.mean()) - 20 + 10) // 20, time, place) for rgb, time, place in pictures]
    return frames, pictures.broken


def video(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[dict[str, Any]], str]:
    code = cli.main(["video", *map(str, words), *WEIGHTS])
    out, said = capsys.readouterr()
    return code, [json.loads(line) for line in out.splitlines()], said


def test_pictures_come_in_the_order_of_people(tmp_path: Path) -> None:
    place = folder(tmp_path / "f", ["1.png", "2.png", "10.png", "10b.PNG", "a.tif", "b1.jpg", "b02.bmp"])
    (place / "notes.txt").write_text("no picture")
    (place / "deep.png").mkdir()
    frames, said = seen(place, rate=10)
    assert [i for i, _, _ in frames] == list(range(7)) and said is None
    assert [time for _, time, _ in frames] == pytest.approx([i / 10 for i in range(7)])
    assert [i for i, _, _ in seen(place / "1*.png")[0]] == [0, 2]
    assert [i for i, _, _ in seen(place / "[ab]*")[0]] == [4, 5, 6]


def test_numbered_pictures_and_gaps(tmp_path: Path) -> None:
    names = ["s0008.png", "s0009.png", "s0010.png", "s10000.png", "s011.png", "t0011.png", "s0011.png.bak.png"]
    place = folder(tmp_path / "f", names)
    frames, said = seen(place / "s%04d.png")
    assert [i for i, _, _ in frames] == [0, 1, 2, 3] and [n for _, _, n in frames] == [0, 1, 2, 3]
    assert said == f"{place / 's%04d.png'}: 9989 numbers are missing, the first is 0011"
    assert [i for i, _, _ in seen(place / "s%03d.png")[0]] == [4, 3]  # three digits or more, without other zeros
    assert [i for i, _, _ in seen(place / "s%d.png")[0]] == [3]
    (place / "s%d.png").write_bytes((place / "s0008.png").read_bytes())  # a file of that very name is a file
    assert pictures_of(str(place / "s%d.png")) is None


def test_pictures_are_read_as_align_reads_them(tmp_path: Path) -> None:
    """Upright by EXIF, transparency on white, 16 bits."""
    (place := tmp_path / "f").mkdir()
    turned = np.zeros((64, 48, 3), np.uint8)
    turned[:32] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera stood on its side
    Image.fromarray(np.ascontiguousarray(np.rot90(turned))).save(place / "1.png", exif=exif)
    Image.fromarray(np.zeros((64, 48, 4), np.uint8)).save(place / "2.png")
    Image.fromarray(np.full((64, 48), 100 * 256, np.uint16)).save(place / "3.tif")
    rgb = [rgb for rgb, _, _ in Pictures("f", *pictures_of(str(place)), 25)]  # type: ignore[misc]
    assert np.array_equal(rgb[0], turned) and (rgb[1] == 255).all() and (rgb[2] == 100).all()
    assert len(rgb) == 3


def test_broken_pictures_in_the_middle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line and exit code 2; the others are done, each under its name and at its time."""
    place = folder(tmp_path / "f", [f"{i}.png" for i in range(12)])
    (place / "3.png").write_bytes((place / "3.png").read_bytes()[:60])
    Image.fromarray(shade(7)[:20]).save(place / "7.png")
    code, lines, said = video(capsys, place, "--rate", 50)
    kept = [i for i in range(12) if i not in (3, 7)]
    assert [line["image"] for line in lines] == [str(place / f"{i}.png") for i in kept]
    assert [line["time"] for line in lines] == pytest.approx([i / 50 for i in kept])
    assert [line["frame"] for line in lines] == list(range(10)) and all(line["faces"] == [] for line in lines)
    assert code == 2 and said.count("\n") == 1
    assert said.startswith(f"acdc-fast: {place}: 2 of 12 pictures are left out ({place / '3.png'}: is ")
    (place / "3.png").unlink()
    code, lines, said = video(capsys, place / "*.png", "-o", tmp_path / "o.mkv")
    assert code == 2 and f"1 of 11 pictures is left out ({place / '7.png'}: is 64×20 pixels, not 64×48 as the" in said
    with av.open(str(tmp_path / "o.mkv")) as film:
        told = [(round(float(f.time), 3), round(f.to_ndarray(format="rgb24").mean())) for f in film.decode(video=0)]
    assert [time for time, _ in told] == pytest.approx([i / 25 for i in range(11) if i != 6], abs=2e-3)
    assert [grey for _, grey in told] == pytest.approx([int(shade(i)[0, 0, 0]) for i in kept], abs=4)


def test_a_folder_gives_what_track_gives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place := tmp_path / "f").mkdir()
    photo = Image.open(PHOTO).convert("RGB").crop((100, 0, 356, 192))
    for i in (9, 10, 11, 12):
        Image.fromarray(np.roll(np.asarray(photo), 2 * i, axis=1)).save(place / f"{i}.png")
    code, lines, said = video(capsys, place)
    model = Model.from_pretrained("acdc-w16-fast")
    wanted = model.track([np.asarray(Image.open(place / f"{i}.png")) for i in (9, 10, 11, 12)])
    assert code == 0 and not said and len(lines[0]["faces"]) == 1
    assert [line["faces"] for line in lines] == [as_dict(faces) for faces in wanted]
    assert video(capsys, place, "-o", tmp_path / "o.mp4", "--rate", "12.5")[0] == 0
    with av.open(str(tmp_path / "o.mp4")) as film:
        assert film.streams.video[0].average_rate == 12.5 and len(list(film.decode(video=0))) == 4


def test_pictures_named_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They come in the order in which they are named, which is not that of their names; one that is missing is told."""
    place = folder(tmp_path / "f", ["1.png", "2.png", "10.png"])
    named = [place / "2.png", place / "10.png", place / "1.png"]
    code, lines, said = video(capsys, *named, "--rate", "10")
    assert code == 0 and not said and [line["image"] for line in lines] == [str(path) for path in named]
    assert [line["time"] for line in lines] == [0, 0.1, 0.2]
    code, lines, said = video(capsys, named[0], place / "none.png", named[2])
    assert code == 2 and len(lines) == 2 and said.count("\n") == 1
    assert said.startswith(f"acdc-fast: {named[0]} and 2 more: 1 of 3 pictures is left out") and "none.png" in said


def test_several_inputs_that_are_no_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = folder(tmp_path / "f", ["1.png", "2.png"])
    kinds = {tmp_path / "in.mp4": "no picture", place: "a folder", "0": "no picture", "-": "no picture"}
    for other, kind in kinds.items():
        code, lines, said = video(capsys, place / "1.png", other, "-o", tmp_path / "o.mp4")
        assert code == 2 and not lines and said.count("\n") == 1 and not (tmp_path / "o.mp4").exists()
        assert said.startswith(f"acdc-fast: {other}: is {kind}") and "Give a film or a folder alone" in said
    code, _, said = video(capsys, place / "1.png", place / "2.png", "-o", place / "2.png", "--overwrite")
    assert code == 2 and "2.png" in said and np.array_equal(np.asarray(Image.open(place / "2.png")), shade(1))


def test_no_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (place := tmp_path / "broken").mkdir()
    for name in ("a.png", "b.png"):
        (place / name).write_bytes(b"no picture")
    for source, line in (
        (tmp_path / "empty", "holds no images (.jpg"), (tmp_path / "*.png", "no file has such a name"),
        (tmp_path / "empty" / "%05d.png", "there is no such numbered picture"),
        (tmp_path / "none" / "%05d.png", "there is no such numbered picture"),
        (place, "none of its 2 pictures can be read"), (tmp_path / "none", "a folder of pictures, frames/%05d.png"),
    ):  # fmt: skip
        code, lines, said = video(capsys, source, "-o", tmp_path / "o.mp4")
        assert code == 2 and not lines and said.count("\n") == 1, said
        assert said.startswith(f"acdc-fast: {source}: ") and line in said and len(said) < 400
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken", "empty"]


def test_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = folder(tmp_path / "f", ["1.png"])
    for word in ("0", "-1", "nan", "fast", "1e9", "1" * 5000):
        with pytest.raises(SystemExit) as end:
            cli.main(["video", str(place), "--rate", word])
        said = capsys.readouterr().err
        assert end.value.code == 2 and "from 0.1 to 1000" in said and len(said) < 200
    (tmp_path / "film.mp4").write_bytes(b"")
    code, _, said = video(capsys, tmp_path / "film.mp4", "--rate", 25)
    assert code == 2 and "--rate is for pictures" in said
    model = Model.from_pretrained("acdc-w16-fast")
    for rate in (0.1, 23.976, 59.94, 119.88, 1000):
        made = Pictures("f", ["1.png"], None, rate).rate
        assert float(made) == pytest.approx(rate, rel=1e-5) and made.numerator < 65536
        for ending in (".mp4", ".avi", ".webm", ".gif"):
            if ending == ".gif" and rate > 100:  # its clock counts hundredths of a second
                continue
            assert run_video(model, str(place), str(tmp_path / f"o{ending}"), 4, None, rate=rate) is None


def test_a_picture_that_is_read_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = folder(tmp_path / "f", ["1.png", "2.gif"])
    before = (place / "2.gif").read_bytes()
    code, _, said = video(capsys, place, "-o", place / "2.gif", "--overwrite")
    assert code == 2 and "would overwrite a picture that is being read" in said
    assert (place / "2.gif").read_bytes() == before
    with pytest.raises(InputError, match="would overwrite"):
        run_video(Model.from_pretrained("acdc-w16-fast"), str(place / "*"), str(place / ".." / "f" / "2.gif"), 4, None)
