"""`recipe` and `ablation` are killed and begun again: the same command ends with the same files.

Twenty trials of each at random moments: ``ACDC_TRIALS=20 pytest`` of this file (docs/notes/fuzzing.md). Else `ablation`
has two, and `recipe`, whose run is longer, none.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.faces import SETTINGS, write_faces
from helpers.patience import PATIENCE

from acdc_fast.errors import AcdcError
from acdc_fast.locks import locked
from acdc_fast.training.loop.train import train
from acdc_fast.training.settings import read_settings

TESTS = Path(__file__).parents[1]
TRIALS = int(os.environ.get("ACDC_TRIALS", 0))
needs_locks = pytest.mark.skipif(sys.platform == "win32", reason="this platform has no locks of folders")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks Linux's /proc for CPU time")
@pytest.mark.parametrize("command", ["recipe", "ablation"])
def test_a_killed_command_goes_on_to_the_same_files(tmp_path: Path, command: str) -> None:
    if command == "recipe" and not TRIALS:
        pytest.skip("half a minute for each trial: ACDC_TRIALS=20")
    count = TRIALS or 2
    done = subprocess.run(
        [sys.executable, str(TESTS / "helpers" / "command_trials.py"), str(tmp_path), command, str(count), "0"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS), "ACDC_CACHE": str(tmp_path / "cache")},
        capture_output=True, text=True, timeout=PATIENCE * count,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(told["trials"])
    assert len(told["trials"]) == count
    assert [trial for trial in told["trials"] if trial[1]] == []


#: A recipe of one step, which writes ``begun``, waits for ``end`` and says how it ended.
STEP = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
Path("begun").touch()
while not Path("end").exists(): time.sleep(0.02)
"""
RECIPE = """
import sys
from pathlib import Path
from acdc_fast.training import recipe
recipe.checked_recipe = lambda path: None
recipe.steps = lambda *_: [(Path("out/made").absolute(), [sys.executable, "step.py"])]
sys.exit(recipe.run_recipe(Path("recipe.yaml"), Path("."), Path("out")))
"""


def started(root: Path) -> subprocess.Popen[bytes]:
    (root / "step.py").write_text(STEP)
    with (root / "told").open("w") as told:
        process = subprocess.Popen([sys.executable, "-c", RECIPE], cwd=root, stderr=told)
    wait_for(root / "begun")
    return process


def wait_for(path: Path) -> None:
    begun = time.monotonic()
    while not path.exists():
        assert time.monotonic() - begun < PATIENCE, path
        time.sleep(0.02)


@needs_locks
def test_a_step_that_outlives_its_recipe_keeps_others_out(tmp_path: Path) -> None:
    process = started(tmp_path)
    try:
        process.kill()
        process.wait()
        with pytest.raises(AcdcError, match=r"out: another run is at work there"), locked(tmp_path / "out", patience=0):
            pass
    finally:
        (tmp_path / "end").touch()
    with locked(tmp_path / "out", patience=PATIENCE):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="this platform does not send signals")
def test_a_request_to_stop_reaches_the_step(tmp_path: Path) -> None:
    process = started(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=PATIENCE) == 7
    assert (tmp_path / "told").read_text() == "ended with code 7; the same command goes on from here\n"


@needs_locks
def test_two_runs_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_faces(tmp_path)
    (tmp_path / "small.yaml").write_text(SETTINGS)
    settings, out = read_settings(tmp_path / "small.yaml"), tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr("acdc_fast.training.loop.train.PATIENCE", 0.0)
    with locked(out), pytest.raises(AcdcError, match="another run is at work there"):
        train(settings, tmp_path, out, device="cpu")
    assert list(out.iterdir()) == []


def test_where_there_are_weights_there_is_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipe and ablation take a run that has weights for done."""
    write_faces(tmp_path)
    (tmp_path / "small.yaml").write_text(SETTINGS)
    settings, out = read_settings(tmp_path / "small.yaml"), tmp_path / "out"

    def struck(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("acdc_fast.training.loop.train.write_card", struck)
        with pytest.raises(AcdcError, match="--resume goes on from the last checkpoint"):
            train(settings, tmp_path, out, device="cpu", until=1)
    assert not (out / "weights.safetensors").exists()
    assert train(settings, tmp_path, out, device="cpu", until=1, resume=True) == 0
    assert (out / "weights.safetensors").exists() and (out / "card.md").exists()
