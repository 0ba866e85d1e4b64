"""How commands end: numbers without an end, empty words, too little memory, and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.command_line import run
from helpers.paths import PHOTO
from helpers.patience import PATIENCE

from acdc_fast import InputError, Model
from acdc_fast.ends import ended

NINES = "9" * 25


@pytest.mark.parametrize(
    ("command", "option", "value", "said"),
    [
        ("align", "--min-size", "inf", "min_size must be a number from 1 to 1000000"),
        ("align", "--min-size", "1e30", "min_size must be a number from 1 to 1000000"),
        ("align", "--resolution", "8000000", "multiple of 8 from 32 to 4096"),
        ("align", "--threads", "99999", "threads must be a whole number from 1 to 4096"),
        ("align", "--threads", NINES, "at most 1000000000"),
        ("align", "--threads", "9" * 5000, "at least 1"),
        ("export", "--batch", NINES, "at most 1000000000"),
        ("export", "--resolution", "8000000", "multiple of 8 from 32 to 4096"),
        ("bench", "--batch", NINES, "at most 1000000000"),
        ("bench", "--resolution", "33", "multiple of 8 from 32 to 4096"),
        ("bench", "--threads", "99999", "threads must be a whole number from 1 to 4096"),
    ],
)
def test_a_number_without_an_end_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, option: str, value: str, said: str
) -> None:
    """In one line, whether argparse refuses it or the model."""
    words = {"align": [PHOTO], "export": [tmp_path / "model.onnx"], "bench": []}[command]
    try:
        code, out, err = run(capsys, command, *words, "--weights", "acdc-w16-phone", option, value)
    except SystemExit as error:  # as argparse ends
        code, (out, err) = error.code, capsys.readouterr()
    assert code == 2 and not out and err.count("\n") == 1 and said in err and len(err) < 300
    assert not list(tmp_path.iterdir())


def test_a_model_of_too_many_threads_is_refused() -> None:
    with pytest.raises(InputError, match="threads must be a whole number from 1 to 4096"):
        Model.from_pretrained("acdc-w16-phone", threads=10**30)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["align", ""], "an argument is empty"),
        (["align", PHOTO, "-o", ""], "an argument after -o is empty"),
        (["align", PHOTO, "--weights", ""], "an argument after --weights is empty"),
        (["align", PHOTO, "--weights="], "an argument after --weights is empty"),
        (["batch", PHOTO, "-o", "x.csv", "--draw", ""], "an argument after --draw is empty"),
    ],
)
def test_an_empty_word_is_no_wish(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    """Else the weights would be the usual ones, and pictures be drawn into the current folder."""
    code, out, err = run(capsys, *words)
    assert code == 2 and not out and err.count("\n") == 1 and said in err


def test_memory_that_does_not_suffice(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 1; another `RuntimeError` is a fault of ours, which is raised."""
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …")):

        def work(error: BaseException = error) -> int:
            raise error

        assert ended("acdc-fast", work) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "the memory does not suffice" in err
    with pytest.raises(RuntimeError, match="ours"):
        ended("acdc-fast", lambda: (_ for _ in ()).throw(RuntimeError("ours")))


#: Writes beside its output until it is asked to end.
WRITER = """
import sys, time
from acdc_fast.ends import ended
from acdc_fast.files import written_beside

def work():
    with written_beside(sys.argv[1]) as beside:
        beside.write_text("half of it")
        print("begun", flush=True)
        time.sleep(600)

sys.exit(ended("test", work))
"""


@pytest.fixture
def hangs_up() -> Iterator[None]:
    """SIGHUP as a terminal leaves it, also where the whole suite runs under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.usefixtures("hangs_up")
def test_a_signal_leaves_nothing_half_written(tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    command = [sys.executable, "-c", WRITER, str(tmp_path / "out.txt")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.readline() == "begun\n" and len(list(tmp_path.iterdir())) == 1
        child.send_signal(number)
        assert child.wait(PATIENCE) == 128 + number
        assert not child.stderr.read() and not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.usefixtures("hangs_up")
def test_what_nohup_has_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    from acdc_fast.stopping import stop_signals

    assert signal.SIGHUP in stop_signals()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in stop_signals()
        assert ended("test", lambda: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
