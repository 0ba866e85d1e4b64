"""A process that loads data ends: each way in which torch tells it becomes one line, and nothing comes after the line.

`test_training_kills` kills a true one; which of the ways it meets there is chance.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from helpers.faces import SETTINGS, write_faces

from acdc_fast.errors import AcdcError, InputError
from acdc_fast.training.loop import train as loop
from acdc_fast.training.loop.data_workers import worker_ended, workers_heard
from acdc_fast.training.settings import read_settings

KILLED = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
CUT_OFF = ConnectionResetError(104, "Connection reset by peer")
needs_child_signals = pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="this platform tells no child's end")


def struck(*_: object) -> None:
    raise KILLED


@pytest.mark.parametrize("error", [KILLED, CUT_OFF, ConnectionRefusedError(111, "refused"), EOFError()])
def test_each_way_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def ends(*_: object) -> bool:
        raise error

    monkeypatch.setattr(loop, "_loop", ends)
    (tmp_path / "small.yaml").write_text(SETTINGS)
    settings = read_settings(tmp_path / "small.yaml")
    with pytest.raises(
        AcdcError, match=r"^a process that loads data ended \(.+nothing was saved yet: begin again$"
    ) as e:
        loop.train(settings, write_faces(tmp_path), tmp_path / "out", device="cpu")
    assert not isinstance(e.value, InputError)  # exit code 1: no input was wrong


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("shapes differ")])
def test_other_errors_are_not(error: Exception) -> None:
    assert worker_ended(error) is None


@needs_child_signals
def test_no_handler_strikes_after_the_block() -> None:
    """Torch's own is put in within the block, at the first loader."""
    with pytest.raises(ConnectionResetError), workers_heard():
        signal.signal(signal.SIGCHLD, struck)
        raise CUT_OFF
    os.kill(os.getpid(), signal.SIGCHLD)  # would raise here


@needs_child_signals
def test_it_strikes_within_the_block() -> None:
    with pytest.raises(RuntimeError, match="killed by signal"), workers_heard():
        signal.signal(signal.SIGCHLD, struck)
        os.kill(os.getpid(), signal.SIGCHLD)
