"""Batch work: one row an image, broken ones included, and nothing is lost or done twice after an interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")
pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra [parquet])")

import pyarrow.parquet as pq  # noqa: E402
from helpers.paths import PHOTO  # noqa: E402
from helpers.small import small_weights  # noqa: E402

from acdc_fast import Model  # noqa: E402
from acdc_fast.batch import job as batch  # noqa: E402
from acdc_fast.errors import AcdcError, InputError  # noqa: E402
from acdc_fast.weights import save_weights  # noqa: E402

COUNT = 120


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(small_weights(stages=1), resolution=32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    (root / "a.jpg").write_bytes(PHOTO.read_bytes())
    Image.new("RGB", (40, 30)).save(root / "b.png")
    (root / "c.jpg").write_bytes(b"")
    (root / "notes.txt").write_text("not an image")
    (root / "sub" / "d.JPG").write_bytes(PHOTO.read_bytes())
    return root


def quiet(text: str) -> None:
    pass


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


def test_interrupted_run_is_taken_up(
    tmp_path: Path, folder: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.parquet"
    whole = batch.run_batch(model, str(folder), str(tmp_path / "whole.parquet"), note=quiet)
    seen: list[str] = []
    row = batch._row

    def counted(model: Model, name: str, *rest: object) -> dict:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(name)
        return row(model, name, *rest)

    monkeypatch.setattr(batch, "_row", counted)
    with pytest.raises(KeyboardInterrupt):
        batch.run_batch(model, str(folder), str(out), part=1, note=quiet)
    assert not out.exists() and seen == ["a.jpg", "b.png"]
    monkeypatch.setattr(batch, "_row", row)
    tally = batch.run_batch(model, str(folder), str(out), note=quiet)
    assert (tally.rows, tally.resumed, tally.faces, tally.broken) == (whole.rows, 2, 1, 1)
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "whole.parquet"))


def test_parts_of_another_run_are_not_mixed_in(
    tmp_path: Path, folder: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.parquet"
    monkeypatch.setattr(batch, "_row", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        batch.run_batch(model, str(folder), str(out))
    monkeypatch.undo()
    other = Model(small_weights(seed=1, stages=1), resolution=32)
    with pytest.raises(AcdcError, match="another run.*weights"):
        batch.run_batch(other, str(folder), str(out))
    assert batch.run_batch(model, str(folder), str(out), note=quiet).rows == 4


def test_killed_process_loses_one_part_at_most(tmp_path: Path) -> None:
    """kill -9 in the middle; the next run starts after the parts that are there, and the result is whole."""
    images = tmp_path / "in"
    images.mkdir()
    for i in range(COUNT):
        Image.open(PHOTO).resize((96, 96)).save(images / f"{i:03d}.jpg")
    save_weights(tmp_path / "w.safetensors", small_weights(stages=1))
    code = (
        "import sys; from acdc_fast import Model; from acdc_fast.batch.job import run_batch\n"
        "tally = run_batch(Model(sys.argv[1], resolution=32), sys.argv[2], sys.argv[3], part=5)\n"
        "print(tally.rows, tally.resumed)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "w.safetensors"), str(images), str(tmp_path / "o.parquet")]
    parts = tmp_path / "o.parquet.parts"
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list(parts.glob("0*.parquet"))) < 3 and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    kept = sum(pq.ParquetFile(p).metadata.num_rows for p in parts.glob("0*.parquet"))
    assert 15 <= kept < COUNT, "the kill came too late to show anything" if kept else "nothing was kept"
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == [str(COUNT), str(kept)], done.stderr
    names = pq.read_table(tmp_path / "o.parquet", columns=["image"]).column(0).to_pylist()
    assert names == [f"{i:03d}.jpg" for i in range(COUNT)]


def test_bad_sources(tmp_path: Path, model: Model) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.parquet").write_text("no parquet")
    pq.write_table(pa.table({"path": [str(PHOTO)]}), tmp_path / "own.parquet")
    for source, out, word in (
        ("empty", "o.parquet", "holds no images"), ("none", "o.parquet", "no such file"),
        ("text.parquet", "o.parquet", "neither a folder nor"), ("own.parquet", "own.parquet", "overwrite"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=word):
            batch.run_batch(model, str(tmp_path / source), str(tmp_path / out))
    assert not list(tmp_path.glob("*.parts"))
