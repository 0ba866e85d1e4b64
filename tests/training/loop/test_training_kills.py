"""Training is killed at random moments, starved of disk, and loses processes: what is done is kept, and said in a line.

50 kills and 60 struck calls: ``ACDC_TRIALS=50 pytest`` of this file (docs/notes/fuzzing.md).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.faces import SETTINGS, write_faces
from helpers.patience import PATIENCE

from acdc_fast.training.loop.progress import HISTORY, Journal, read_history

TESTS = Path(__file__).parents[2]
LONG = SETTINGS.replace("updates: 4", "updates: 4000").replace("minutes: 0", "minutes: 60")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
TRIALS = int(os.environ.get("ACDC_TRIALS", 4))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_faces(tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.parametrize("how", ["kill", "full"])
def test_a_struck_run_goes_on_to_the_same_weights(root: Path, how: str) -> None:
    """Weights and reports are those of an undisturbed run, byte for byte."""
    (root / "small.yaml").write_text(SETTINGS)
    count = TRIALS + 12 if how == "full" else TRIALS
    done = subprocess.run(
        [sys.executable, str(TESTS / "helpers" / "train_trials.py"), str(root), how, str(count), "0"],
        env={**ENVIRONMENT, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, timeout=PATIENCE + 60 * TRIALS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    if TRIALS > 4:
        print(told["trials"])
    assert len(told["trials"]) == count
    assert [trial for trial in told["trials"] if trial[1]] == []
    # What is written beside its place has a hidden name: ".checkpoint-" and eight characters.
    names = {f"{kind} {file.lstrip('.').split('.')[0].split('-')[0]}" for kind, file in map(str.split, told["calls"])}
    assert {"open events", "write events", "write history", "open checkpoint", "replace checkpoint"} <= names


def start(root: Path, settings: str, *launcher: str) -> subprocess.Popen[str]:
    """A long run of which three updates are done."""
    (root / "long.yaml").write_text(settings)
    command = ["-m", "acdc_fast.training.loop.train", "--config", str(root / "long.yaml"), "--data-root", str(root)]
    process = subprocess.Popen(
        [sys.executable, *launcher, *command, "--out", str(root / "out"), "--device", "cpu"],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    history, begun = root / "out" / HISTORY, time.monotonic()
    while not history.exists() or history.read_text().count("\n") < 3:
        assert process.poll() is None and time.monotonic() - begun < PATIENCE, process.communicate()[0]
        time.sleep(0.05)
    return process


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks Linux's /proc for children")


@needs_proc
def test_a_killed_data_worker_is_said(root: Path) -> None:
    process = start(root, LONG.replace("workers: 0", "workers: 1"))
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, told
    assert "acdc-fast train: a process that loads data ended" in told
    assert "--resume goes on" in told or "nothing was saved yet" in told, told
    begun, *wrong = told.splitlines()
    assert " faces, updates 0 to " in begun and len(wrong) == 1, told


@needs_proc
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_of_two_ends_the_other(root: Path, rank: int) -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    meeting = ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", *meeting]
    process = start(root, LONG + "channels_last: false\n", *launcher)
    os.kill(children(process.pid)[rank], signal.SIGKILL)
    told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert f"rank      : {rank} " in told and "(SIGKILL)" in told  # torchrun says who was first
    ours = [line for line in told.splitlines() if "acdc-fast train: " in line]
    assert len(ours) <= 1 and all("another process" in line for line in ours), told
    assert all("--resume goes on" in line or "nothing was saved yet" in line for line in ours), told
    assert "train.py" not in told, told  # no trace of ours


@pytest.mark.parametrize("also", ["", "on_device: true"])
def test_a_broken_picture_ends_a_run_in_one_line(root: Path, also: str) -> None:
    """Without the trace of the worker that met it (`test_worker_errors` has the other ways)."""
    tar = root / "mtfl-train.tar"
    data = bytearray(tar.read_bytes())
    where = data.index(b"\xff\xd8\xff", len(data) // 3)
    data[where : where + 300] = bytes(300)
    tar.write_bytes(data)
    (root / "broken.yaml").write_text(SETTINGS.replace("workers: 0", "workers: 1") + also)
    command = ["-m", "acdc_fast.commands.cli", "train", "--config", str(root / "broken.yaml")]
    command += ["--data-root", str(root), "--out", str(root / "out"), "--device", "cpu"]
    done = subprocess.run([sys.executable, *command], env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2, done.stderr
    *begun, wrong = done.stderr.splitlines()  # on a device all pictures are read before it begins
    assert len(begun) == (not also) and all(" faces, updates 0 to " in line for line in begun), done.stderr
    assert "not a picture" in wrong and "faces/" in wrong and "Caught" not in wrong


def test_a_struck_journal_keeps_its_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports after the checkpoint are thrown away on a resume; if that is struck, none of the others is lost."""
    lines = "".join(json.dumps({"step": step, "mtfl/loss": 1 / step}) + "\n" for step in (1, 2, 3))
    (tmp_path / HISTORY).write_text(lines + '{"step": 4, "mtf')

    def struck(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", struck)
        with pytest.raises(OSError, match="No space"):
            Journal(tmp_path, 2)
    assert [line["step"] for line in read_history(tmp_path)] == [1, 2, 3]
    Journal(tmp_path, 2).close()
    assert [line["step"] for line in read_history(tmp_path)] == [1, 2]
