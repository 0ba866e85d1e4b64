"""Batch work: one row for each image, also for broken ones, from folders and from Parquet."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")
pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra [parquet])")

import pyarrow.parquet as pq  # noqa: E402
from helpers.batch_jobs import quiet  # noqa: E402
from helpers.paths import PHOTO  # noqa: E402

from acdc_fast import Model  # noqa: E402
from acdc_fast.batch import job as batch  # noqa: E402
from acdc_fast.commands import cli  # noqa: E402
from acdc_fast.errors import BackendUnavailable, InputError  # noqa: E402


def test_folder(tmp_path: Path, folder: Path, model: Model) -> None:
    notes: list[str] = []
    out = tmp_path / "out.parquet"
    tally = batch.run_batch(model, str(folder), str(out), note=notes.append)
    assert (tally.rows, tally.faces, tally.broken, tally.resumed) == (4, 2, 1, 0)
    assert len(notes) == 1 and "c.jpg: is empty" in notes[0]
    rows = pq.read_table(out).to_pylist()
    assert [row["image"] for row in rows] == ["a.jpg", "b.png", "c.jpg", "sub/d.JPG"]
    faces = model.align(PHOTO)
    assert np.allclose(rows[0]["boxes"], faces.boxes) and np.allclose(rows[0]["yaw"], faces.pose.yaw)
    points = np.array(rows[3]["landmarks_2d68"]).reshape(-1, 68, 2)
    assert np.array_equal(points.astype(np.float32), faces.landmarks["2d68"])
    assert rows[1]["boxes"] == [] and rows[1]["error"] is None and rows[1]["width"] == 40
    assert "empty" in rows[2]["error"] and rows[2]["width"] is None and rows[2]["landmarks_3d68"] == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out.parquet"]


def test_parquet_of_bytes_paths_and_structs(tmp_path: Path, model: Model) -> None:
    data = PHOTO.read_bytes()
    sources = {
        "bytes": pa.table({"bytes": [data, b"junk"]}),
        "path": pa.table({"path": [str(PHOTO), str(tmp_path / "none.jpg")]}),
        "struct": pa.table({"image": [{"bytes": data, "path": "p.jpg"}, {"bytes": None, "path": "none.jpg"}]}),
    }
    for name, table in sources.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
        out = tmp_path / f"{name}-out.parquet"
        tally = batch.run_batch(model, str(tmp_path / f"{name}.parquet"), str(out), note=quiet)
        rows = pq.read_table(out).to_pylist()
        assert (tally.rows, tally.faces, tally.broken) == (2, 1, 1), name
        assert len(rows[0]["scores"]) == 1 and rows[1]["error"]
    pq.write_table(pa.table({"picture": [data]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="it has picture"):
        batch.run_batch(model, str(tmp_path / "x.parquet"), str(tmp_path / "y.parquet"))
    assert batch.run_batch(model, str(tmp_path / "x.parquet"), str(tmp_path / "y.parquet"), column="picture").faces == 1


def test_what_is_looked_for(tmp_path: Path, folder: Path, model: Model) -> None:
    out = tmp_path / "o.parquet"
    assert batch.run_batch(model, str(folder), str(out), note=quiet, search={"min_score": 1.0}).faces == 0
    assert pq.read_table(out).column("scores").to_pylist()[0] == []
    with pytest.raises(InputError, match="unknown setting 'size'"):
        batch.run_batch(model, str(folder), str(out), overwrite=True, note=quiet, search={"size": 3})


def test_bad_sources(tmp_path: Path, model: Model) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.parquet").write_text("no parquet")
    pq.write_table(pa.table({"path": [str(PHOTO)]}), tmp_path / "own.parquet")
    for source, out, word in (
        ("empty", "o.parquet", "holds no images"), ("none", "o.parquet", "no such file"),
        ("text.parquet", "o.parquet", "neither a picture"), ("own.parquet", "own.parquet", "overwrite"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=word):
            batch.run_batch(model, str(tmp_path / source), str(tmp_path / out))
    assert not list(tmp_path.glob("*.parts"))
    no_text = pa.StringArray.from_buffers(1, pa.py_buffer(np.int32([0, 2]).tobytes()), pa.py_buffer(b"\xff\x8b"))
    pq.write_table(pa.table({"path": no_text}), tmp_path / "names.parquet")
    with pytest.raises(InputError, match="names.parquet.*codec can't decode"):
        batch.run_batch(model, str(tmp_path / "names.parquet"), str(tmp_path / "o.parquet"))


@pytest.mark.parametrize(("broken", "said"), [(0, "0 images were"), (1, "1 image was"), (2, "2 images were")])
def test_how_many_were_not_read(
    broken: int, said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "c.jpg").unlink()  # the one that is empty
    for i in range(broken):
        (folder / f"broken{i}.jpg").write_bytes(b"no picture")
    cli.main(["batch", str(folder), "-o", str(tmp_path / "told.csv"), "--weights", "acdc-w16-phone"])
    assert f", {said} not read\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["o.txt", "o", "o.json", "folder.parquet"])
def test_outputs_that_cannot_be(name: str, tmp_path: Path, folder: Path, model: Model) -> None:
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(InputError, match="is a folder" if name.startswith("folder") else "let its name end in"):
        batch.run_batch(model, str(folder), str(tmp_path / name), note=quiet)
    assert not list(tmp_path.glob("*.parts"))


def test_names_that_are_no_text(tmp_path: Path, model: Model) -> None:
    root = tmp_path / "in"
    root.mkdir()
    try:
        (root / os.fsdecode(b"\xff\n.jpg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    batch.run_batch(model, str(root), str(tmp_path / "o.parquet"), note=quiet)
    (row,) = pq.read_table(tmp_path / "o.parquet").to_pylist()
    assert row["image"] == "\\xff\n.jpg" and "is empty" in row["error"]


def test_one_picture_is_one_image(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "one.jsonl"
    for said in ("1 image; ", "done already; 1 image, "):
        cli.main(["batch", str(folder / "a.jpg"), "-o", str(out), "--weights", "acdc-w16-phone"])
        assert capsys.readouterr().out.startswith(f"{out}: {said}")


@pytest.mark.parametrize(("cluster", "extra"), [(None, "parquet"), ("local", "ray")])
def test_the_extra_that_brings_all_is_named(
    cluster: str | None, extra: str, folder: Path, tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the output, the parts are Parquet."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    with pytest.raises(BackendUnavailable, match=rf"pip install 'acdc-fast\[{extra}\]'"):
        batch.run_batch(model, str(folder), str(tmp_path / "o.csv"), cluster=cluster)
