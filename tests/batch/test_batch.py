"""Batch work: one row for each image, also for broken ones; an interruption loses nothing and repeats nothing."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")
pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra [parquet])")

import pyarrow.parquet as pq  # noqa: E402
from helpers.paths import PHOTO  # noqa: E402
from helpers.small import fitted, sighted, small_weights  # noqa: E402

from acdc_fast import Camera, Model  # noqa: E402
from acdc_fast.batch import job as batch  # noqa: E402
from acdc_fast.errors import AcdcError, InputError  # noqa: E402
from acdc_fast.readout.blendshapes import told as shape_names  # noqa: E402
from acdc_fast.readout.results import as_dict  # noqa: E402
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


def test_what_is_looked_for(tmp_path: Path, folder: Path, model: Model) -> None:
    out = tmp_path / "o.parquet"
    assert batch.run_batch(model, str(folder), str(out), note=quiet, search={"min_score": 1.0}).faces == 0
    assert pq.read_table(out).column("scores").to_pylist()[0] == []
    with pytest.raises(InputError, match="unknown setting 'size'"):
        batch.run_batch(model, str(folder), str(out), overwrite=True, note=quiet, search={"size": 3})


def test_interrupted_run_is_taken_up(
    tmp_path: Path, folder: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.parquet"
    whole = batch.run_batch(model, str(folder), str(tmp_path / "whole.parquet"), note=quiet)
    seen: list[str] = []
    row = batch.row_of

    def counted(model: Model, name: str, *rest: object) -> dict:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(name)
        return row(model, name, *rest)

    monkeypatch.setattr(batch, "row_of", counted)
    with pytest.raises(KeyboardInterrupt):
        batch.run_batch(model, str(folder), str(out), part=1, note=quiet)
    assert not out.exists() and seen == ["a.jpg", "b.png"]
    monkeypatch.setattr(batch, "row_of", row)
    tally = batch.run_batch(model, str(folder), str(out), note=quiet)
    assert (tally.rows, tally.resumed, tally.faces, tally.broken) == (whole.rows, 2, 2, 1)
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "whole.parquet"))


def test_parts_of_another_run_are_not_mixed_in(
    tmp_path: Path, folder: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.parquet"
    monkeypatch.setattr(batch, "row_of", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        batch.run_batch(model, str(folder), str(out))
    monkeypatch.undo()
    other = Model(small_weights(seed=1, stages=1), resolution=32)
    with pytest.raises(AcdcError, match="another run.*weights"):
        batch.run_batch(other, str(folder), str(out))
    assert batch.run_batch(model, str(folder), str(out), note=quiet).rows == 4


def test_killed_process_loses_one_part_at_most(tmp_path: Path) -> None:
    """kill -9 in the middle: the next run starts after the finished parts, and the result is whole."""
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
        ("text.parquet", "o.parquet", "neither a picture"), ("own.parquet", "own.parquet", "overwrite"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=word):
            batch.run_batch(model, str(tmp_path / source), str(tmp_path / out))
    assert not list(tmp_path.glob("*.parts"))
    no_text = pa.StringArray.from_buffers(1, pa.py_buffer(np.int32([0, 2]).tobytes()), pa.py_buffer(b"\xff\x8b"))
    pq.write_table(pa.table({"path": no_text}), tmp_path / "names.parquet")
    with pytest.raises(InputError, match="names.parquet.*codec can't decode"):
        batch.run_batch(model, str(tmp_path / "names.parquet"), str(tmp_path / "o.parquet"))


def test_finished_output_is_left_or_refused(tmp_path: Path, folder: Path, model: Model) -> None:
    """The same job is done already; another job is refused; only --overwrite replaces."""
    for suffix in (".parquet", ".csv", ".jsonl"):
        out = tmp_path / f"o{suffix}"
        first = batch.run_batch(model, str(folder), str(out), note=quiet)
        before, when = out.read_bytes(), out.stat().st_mtime_ns
        again = batch.run_batch(model, str(folder), str(out), note=quiet)
        assert (again.rows, again.faces, again.broken, again.resumed) == (4, 2, 1, 4) and first.resumed == 0
        assert out.stat().st_mtime_ns == when
        other = Model(small_weights(seed=1, stages=1), resolution=32)
        with pytest.raises(InputError, match=r"is there already.*weights differ.*--overwrite"):
            batch.run_batch(other, str(folder), str(out), note=quiet)
        assert out.read_bytes() == before
        batch.run_batch(other, str(folder), str(out), overwrite=True, note=quiet)
        assert out.read_bytes() != before
        batch.run_batch(model, str(folder), str(out), overwrite=True, note=quiet)
        assert out.read_bytes() == before
        out.write_bytes(before + b"\n")
        with pytest.raises(InputError, match="is there already"):
            batch.run_batch(other, str(folder), str(out), note=quiet)


def test_everything_that_changes_results_makes_another_job(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of other weights (in any part), options, images or versions are never mixed."""
    from dataclasses import replace

    weights = small_weights(stages=2)
    refinement, pose = fitted(weights)
    whole = replace(weights, refinement=refinement, pose=pose, card={"narrowest_spread": "0.01"})
    out = tmp_path / "o.parquet"
    batch.run_batch(Model(whole, resolution=32), str(folder), str(out), note=quiet)
    numbers = {m: v * 1.5 for m, v in refinement.numbers.items()}
    changed = {
        "refinement": replace(whole, refinement=replace(refinement, numbers=numbers)),
        "no refinement": replace(whole, refinement=None),
        "pose": replace(whole, pose=replace(pose, numbers=pose.numbers * 2)), "no pose": replace(whole, pose=None),
        "spread": replace(whole, card={"narrowest_spread": "0.02"}),
        "calibration": replace(whole, calibration={"2d68": (1.0, 0.0, 2.0)}),
        "array": replace(whole, arrays={**whole.arrays, "gtn.pose.bias": whole.arrays["gtn.pose.bias"] + 1}),
        "markups": replace(whole, markups=("2d68",)),
    }  # fmt: skip
    for name, other in changed.items():
        with pytest.raises(InputError, match="weights.* differ"):
            batch.run_batch(Model(other, resolution=32), str(folder), str(out), note=quiet)
            pytest.fail(f"another {name} is taken for the same job")
    for options, word in (
        ({"stages": 1}, "stages"), ({"resolution": 40}, "resolution"), ({"backend": "eager"}, "backend"),
        ({"backend": "eager", "dtype": "float64"}, "dtype"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=word):
            batch.run_batch(Model(whole, **{"resolution": 32, **options}), str(folder), str(out), note=quiet)
    model = Model(whole, resolution=32)
    with pytest.raises(InputError, match="search differ"):
        batch.run_batch(model, str(folder), str(out), note=quiet, search={"min_score": 0.7})
    monkeypatch.setattr(batch, "__version__", "9")
    with pytest.raises(InputError, match="version differ"):
        batch.run_batch(model, str(folder), str(out), note=quiet)
    monkeypatch.undo()
    for change in (
        lambda: Image.new("RGB", (9, 9)).save(folder / "aa.png"), lambda: (folder / "aa.png").rename(folder / "ab.png"),
        lambda: Image.new("RGB", (9, 10)).save(folder / "b.png"), (folder / "a.jpg").unlink,
    ):  # fmt: skip
        change()
        with pytest.raises(InputError, match="images differ"):
            batch.run_batch(model, str(folder), str(out), note=quiet)
        batch.run_batch(model, str(folder), str(out), overwrite=True, note=quiet)


def test_the_folder_changes_between_kill_and_resume(tmp_path: Path, folder: Path, model: Model) -> None:
    """No photo comes twice, none is missing: the run says what changed, and nothing is lost."""
    out = tmp_path / "o.parquet"
    stop_after(model, folder, out, 2)
    parts = sorted(p.name for p in (tmp_path / "o.parquet.parts").iterdir())
    Image.new("RGB", (9, 9)).save(folder / "aa.png")  # which would move the names behind it by one
    with pytest.raises(InputError, match=r"unfinished work.*images differ.*--overwrite"):
        batch.run_batch(model, str(folder), str(out), note=quiet)
    assert sorted(p.name for p in (tmp_path / "o.parquet.parts").iterdir()) == parts and not out.exists()
    assert batch.run_batch(model, str(folder), str(out), overwrite=True, note=quiet).rows == 5
    names = pq.read_table(out).column("image").to_pylist()
    assert names == ["a.jpg", "aa.png", "b.png", "c.jpg", "sub/d.JPG"]


def stop_after(model: Model, folder: Path, out: Path, count: int) -> None:
    """Leaves the rows of this many images, one in each part."""
    real, seen = batch.row_of, []

    def counted(*arguments: object) -> dict:
        if len(seen) == count:
            raise KeyboardInterrupt
        seen.append(1)
        return real(*arguments)

    batch.row_of = counted
    try:
        with pytest.raises(KeyboardInterrupt):
            batch.run_batch(model, str(folder), str(out), part=1, note=quiet)
    finally:
        batch.row_of = real


def test_foreign_and_damaged_parts_are_done_anew(tmp_path: Path, folder: Path, model: Model) -> None:
    out, whole = tmp_path / "o.parquet", tmp_path / "w.parquet"
    batch.run_batch(model, str(folder), str(whole), note=quiet)
    for spoil in (
        lambda a, b: a.write_bytes(b"PAR1half"), lambda a, b: a.unlink(), lambda a, b: b.replace(a),
        lambda a, b: (a.parent / "new.x.parquet").write_bytes(b"PAR1half"),
    ):  # fmt: skip
        stop_after(model, folder, out, 3)
        first, second, _ = sorted((tmp_path / "o.parquet.parts").glob("0*.parquet"))
        spoil(first, second)
        batch.run_batch(model, str(folder), str(out), note=quiet)
        assert pq.read_table(out).equals(pq.read_table(whole)) and not (tmp_path / "o.parquet.parts").exists()
        out.unlink()


def test_two_runs_at_once(tmp_path: Path, folder: Path, model: Model) -> None:
    out = tmp_path / "o.parquet"
    stop_after(model, folder, out, 1)
    with open(tmp_path / "o.parquet.parts" / "lock", "ab") as lock:
        fcntl = pytest.importorskip("fcntl", reason="files are not locked on this platform")
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(AcdcError, match="another run is at work"):
            batch.run_batch(model, str(folder), str(out), note=quiet)
    assert batch.run_batch(model, str(folder), str(out), note=quiet).resumed == 1


@pytest.mark.parametrize("sees", [True, False])
def test_formats_hold_the_same(tmp_path: Path, folder: Path, model: Model, sees: bool) -> None:
    """CSV has a line for each face, JSON for each image, as `align --json`; the numbers are those of the parquet. With
    weights that tell what is in sight, and without."""
    if sees:
        weights = small_weights(stages=1)
        refinement, pose = fitted(weights)
        whole = replace(weights, refinement=refinement, pose=pose, visibility=sighted(weights))
        model = Model(whole, resolution=32)
    for suffix in (".parquet", ".csv", ".jsonl"):
        batch.run_batch(model, str(folder), str(tmp_path / f"o{suffix}"), note=quiet)
    table = pq.read_table(tmp_path / "o.parquet")
    told = json.loads(table.schema.metadata[b"acdc_fast"])
    assert told["faces"] == 2 and told["job"]["backend"] == "native" and told["job"]["version"]
    rows = table.to_pylist()
    entries = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [e["image"] for e in entries] == [r["image"] for r in rows]
    for name, entry in zip(("a.jpg", "sub/d.JPG"), (entries[0], entries[3]), strict=True):
        assert entry["faces"] == as_dict(model.align(folder / name))
    assert entries[2]["error"] == rows[2]["error"] and entries[1]["faces"] == []
    with open(tmp_path / "o.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["image"] for line in lines] == ["a.jpg", "b.png", "c.jpg", "sub/d.JPG"]
    face = entries[3]["faces"][0]
    assert float(lines[3]["2d68_5_y"]) == face["landmarks"]["2d68"][5][1] and lines[1]["face"] == ""
    assert float(lines[3]["3d68_67_confidence"]) == face["confidence"]["3d68"][67] and "empty" in lines[2]["error"]
    assert (float(lines[3]["x1"]), float(lines[3]["roll"])) == (face["box"][2], face["pose"]["roll"])
    assert set(face["blendshapes"]) == set(shape_names())
    for name, value in face["blendshapes"].items():
        assert float(lines[3][f"blendshape_{name}"]) == value
        assert rows[3][f"blendshape_{name}"][0] == pytest.approx(value, abs=1e-4)
        assert rows[1][f"blendshape_{name}"] == rows[2][f"blendshape_{name}"] == []
        assert lines[1][f"blendshape_{name}"] == ""
    assert bool(face["visible"]) == sees
    if sees:
        assert float(lines[3]["2d68_66_visible"]) == face["visible"]["2d68"][66]
        assert rows[3]["visible_2d68"][0][66] == pytest.approx(face["visible"]["2d68"][66], abs=1e-4)
        assert rows[1]["visible_2d68"] == [] and lines[1]["2d68_0_visible"] == ""
    else:
        assert rows[3]["visible_2d68"] is None and lines[3]["2d68_66_visible"] == ""


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


SLOW = """
import pathlib, sys, time
from acdc_fast.batch import job
from acdc_fast.commands import cli
real = job.row_of
def slow(*arguments):
    pathlib.Path(sys.argv[4]).with_name("begun").touch()
    time.sleep(0.05)
    return real(*arguments)
job.row_of = slow
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop(number: signal.Signals, tmp_path: Path) -> None:
    """One line says what is kept and that the same command goes on, and it does go on."""
    images = tmp_path / "in"
    images.mkdir()
    for i in range(80):
        Image.new("RGB", (64, 64), (i, 0, 0)).save(images / f"{i:03d}.bmp")
    save_weights(tmp_path / "w.safetensors", small_weights(stages=1))
    out = tmp_path / "o.parquet"
    command = [sys.executable, "-c", SLOW, "batch", str(images), "-o", str(out), "--resolution", "32"]
    command += ["--weights", str(tmp_path / "w.safetensors"), "--threads", "1"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    run.send_signal(number)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 128 + number, said
    assert said.count("\n") == 1 and "of 80 images, which are kept" in said and "the same command goes on" in said
    kept = sum(pq.ParquetFile(p).metadata.num_rows for p in (tmp_path / "o.parquet.parts").glob("0*.parquet"))
    assert f"stopped after {kept} of 80" in said and 0 < kept < 80
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and f"80 images, {kept} of them from the run before" in done.stdout, done.stderr
    assert pq.read_table(out).column("image").to_pylist() == [f"{i:03d}.bmp" for i in range(80)]


def test_a_camera_gives_places_in_every_format(tmp_path: Path, folder: Path) -> None:
    """As `align` with this camera; another camera, or none, makes another job and other columns."""
    weights = small_weights(stages=1)
    refinement, pose = fitted(weights)
    model = Model(replace(weights, refinement=refinement, pose=pose), resolution=32)
    camera = Camera(((500, 0, 250), (0, 510, 260), (0, 0, 1)), eye_corners=90)
    for suffix in (".parquet", ".csv", ".jsonl"):
        batch.run_batch(model, str(folder), str(tmp_path / f"o{suffix}"), note=quiet, camera=camera)
    rows = pq.read_table(tmp_path / "o.parquet").to_pylist()
    entries = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    with open(tmp_path / "o.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    faces = model.align(folder / "a.jpg", camera=camera)
    assert faces.pose is not None and faces.pose.translation is not None
    place = faces.pose.translation[0]
    assert rows[0]["translation"][0] == place.tolist() and rows[1]["translation"] == rows[2]["translation"] == []
    assert entries[0]["faces"] == as_dict(faces) and entries[0]["faces"][0]["pose"]["translation"]
    assert [float(lines[0][f"translation_{axis}"]) for axis in "xyz"] == pytest.approx(place, abs=1e-3)
    assert lines[1]["translation_x"] == lines[2]["translation_z"] == ""
    assert (float(lines[0]["yaw"]), float(lines[0]["2d68_0_x"])) == pytest.approx(
        (faces.pose.yaw[0], faces.landmarks["2d68"][0, 0, 0]), abs=1e-3
    )
    out = tmp_path / "o.csv"
    assert batch.run_batch(model, str(folder), str(out), note=quiet, camera=camera).resumed == 4
    with pytest.raises(InputError, match="camera differ"):
        batch.run_batch(model, str(folder), str(out), note=quiet, camera=replace(camera, eye_corners=80))
    with pytest.raises(InputError, match="from another job"):
        batch.run_batch(model, str(folder), str(out), note=quiet)
    batch.run_batch(model, str(folder), str(out), note=quiet, overwrite=True)
    assert "translation" not in out.read_text().partition("\n")[0]
