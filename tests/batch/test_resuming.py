"""An interruption, a kill or a request to stop loses nothing and repeats nothing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.patience import PATIENCE
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra [parquet])")

import pyarrow.parquet as pq
from helpers.batch_jobs import quiet, stop_after
from helpers.paths import PHOTO
from helpers.small import small_weights

from acdc_fast import Model
from acdc_fast.batch import job as batch
from acdc_fast.errors import AcdcError, InputError
from acdc_fast.weights import save_weights

COUNT = 120


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


def test_killed_process_loses_one_part_at_most(tmp_path: Path) -> None:
    """kill -9 in the middle: the next run starts after the finished parts, and the result is whole."""
    images = tmp_path / "in"
    images.mkdir()
    for i in range(COUNT):
        Image.open(PHOTO).resize((96, 96)).save(images / f"{i:03d}.jpg")
    save_weights(tmp_path / "w.safetensors", small_weights(stages=1))
    code = (
        "import sys, time; from acdc_fast import Model; from acdc_fast.batch import job; real = job.row_of\n"
        "job.row_of = lambda *given: (time.sleep(0.02), real(*given))[1]\n"  # so that the kill comes in time
        "tally = job.run_batch(Model(sys.argv[1], resolution=32), sys.argv[2], sys.argv[3], part=5)\n"
        "print(tally.rows, tally.resumed)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "w.safetensors"), str(images), str(tmp_path / "o.parquet")]
    parts = tmp_path / "o.parquet.parts"
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE
    while len(list(parts.glob("0*.parquet"))) < 3 and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    kept = sum(pq.ParquetFile(p).metadata.num_rows for p in parts.glob("0*.parquet"))
    assert 15 <= kept < COUNT, "the kill came too late to show anything" if kept else "nothing was kept"
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.split() == [str(COUNT), str(kept)], done.stderr
    names = pq.read_table(tmp_path / "o.parquet", columns=["image"]).column(0).to_pylist()
    assert names == [f"{i:03d}.jpg" for i in range(COUNT)]


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
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.01)
    time.sleep(0.1)
    run.send_signal(number)
    _, said = run.communicate(timeout=PATIENCE)
    assert run.returncode == 128 + number, said
    assert said.count("\n") == 1 and "of 80 images, which are kept" in said and "the same command goes on" in said
    kept = sum(pq.ParquetFile(p).metadata.num_rows for p in (tmp_path / "o.parquet.parts").glob("0*.parquet"))
    assert f"stopped after {kept} of 80" in said and 0 < kept < 80
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and f"80 images, {kept} of them from the run before" in done.stdout, done.stderr
    assert pq.read_table(out).column("image").to_pylist() == [f"{i:03d}.bmp" for i in range(80)]


def test_workers_are_given_back_before_the_cluster_ends(
    tmp_path: Path, folder: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a part cannot be kept: Ray starts another cluster for whoever gives them back later."""
    ended: list[str] = []

    class Cluster:
        def __init__(self, address: str) -> None: ...

        def close(self) -> None:
            ended.append("cluster")

    def rows(cluster: Cluster, model: Model, names: list[str], *rest: object) -> Iterator[dict[str, Any]]:
        try:
            for name in names:
                yield {"name": name}
        finally:
            ended.append("workers")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(batch, "Cluster", Cluster)
    monkeypatch.setattr(batch, "ray_rows", rows)
    monkeypatch.setattr(batch.Parts, "add", full)
    with pytest.raises(OSError, match="No space left"):
        batch.run_batch(model, str(folder), str(tmp_path / "out.jsonl"), part=1, note=quiet, cluster="local")
    assert ended == ["workers", "cluster"]
