"""A film from standard input: of any container, with its sound, as if it were a file."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

av = pytest.importorskip("av", reason="PyAV is not installed (extra [video])")

from helpers.films import COUNT, film  # noqa: E402
from helpers.patience import PATIENCE  # noqa: E402

from acdc_fast.commands import cli  # noqa: E402

SHORT = 12
Pipe = Callable[[bytes], None]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Pipe:
    """Gives bytes to the command through a pipe, a few at a time."""

    def give(data: bytes) -> None:
        reads, writes = os.pipe()

        def write() -> None:
            with os.fdopen(writes, "wb", buffering=0) as file:
                for at in range(0, len(data), 1000):
                    file.write(data[at : at + 1000])

        threading.Thread(target=write, daemon=True).start()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=os.fdopen(reads, "rb")))

    return give


def video(*words: object) -> int:
    return cli.main(["video", *map(str, words), "--weights", "acdc-w16-fast"])


def content(path: Path) -> tuple[list[float], list[bytes], float]:
    """Times and pixels of the frames, seconds of sound."""
    with av.open(str(path)) as container:
        frames = [(float(f.time), f.to_ndarray(format="rgb24").tobytes()) for f in container.decode(video=0)]
    with av.open(str(path)) as container:
        sounds = container.streams.audio
        seconds = sum(f.samples / f.sample_rate for f in container.decode(sounds[0])) if sounds else 0.0
    return [time for time, _ in frames], [pixels for _, pixels in frames], seconds


@pytest.mark.parametrize(
    ("name", "flags", "codec"),
    [("late.mp4", "", "libx264"), ("early.mp4", "faststart", "libx264"), ("late.mov", "", "libx264"),
     ("parts.mp4", "frag_keyframe+empty_moov", "libx264"), ("a.mkv", "", "libx264"), ("a.ts", "", "libx264"),
     ("a.webm", "", "libvpx-vp9"), ("a.avi", "", "mpeg4")],
)  # fmt: skip
def test_a_film_of_any_container(
    name: str, flags: str, codec: str, tmp_path: Path, pipe: Pipe, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The film that is written, its sound, and the lines are those of the same film as a file. Only where the index
    comes last is there a temporary file."""
    source = film(tmp_path / name, codec, flags, sound=0.6, count=SHORT)
    made, real = [], tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: made.append(real()) or made[-1])
    assert video(source, "-o", tmp_path / "file.mkv") == 0 and not made
    pipe(source.read_bytes())
    assert video("-", "-o", tmp_path / "pipe.mkv") == 0, capsys.readouterr().err
    assert len(made) == name.startswith("late")
    there, here = content(tmp_path / "file.mkv"), content(tmp_path / "pipe.mkv")
    assert here == there and len(here[0]) == SHORT and here[2] > 0.5
    capsys.readouterr()
    assert video(source) == 0
    lines = capsys.readouterr().out
    pipe(source.read_bytes())
    assert video("-") == 0
    assert capsys.readouterr().out == lines and len(lines.splitlines()) == SHORT


@pytest.mark.parametrize("how", ["cat {} |", "<{}"])
def test_from_the_shell(how: str, tmp_path: Path) -> None:
    """A file that is given as standard input is read as it lies there; `cat` cannot go back."""
    source = film(tmp_path / "a b.mp4", count=8, sound=0.3)
    command = f"{sys.executable} -m acdc_fast.commands.cli video - -o out.mp4 --weights acdc-w16-fast"
    line = how.format(shlex.quote(str(source)))
    line = f"{line} {command}" if "|" in line else f"{command} {line}"
    done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    times, _, seconds = content(tmp_path / "out.mp4")
    assert len(times) == 8 and seconds > 0.25


def test_what_is_no_film(pipe: Pipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mkv = film(tmp_path / "a.mkv").read_bytes()
    mp4 = film(tmp_path / "a.mp4").read_bytes()
    for data in (b"", b"abc", b"no film at all" * 100, mkv[:50], mp4[:6], mp4[:40], mp4[: len(mp4) // 2],
                 b"\xff\xff\xff\xffftyp", b"\0\0\0\0ftypmoov"):  # fmt: skip
        pipe(data)
        assert video("-", "-o", tmp_path / "o.mp4") == 2, data[:50]
        said = capsys.readouterr().err
        assert said.startswith("acdc-fast: standard input: ") and said.count("\n") == 1 and len(said) < 300
        assert not (tmp_path / "o.mp4").exists()


def test_a_film_that_is_cut_is_told(pipe: Pipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And what came before is written."""
    whole = film(tmp_path / "a.mkv").read_bytes()
    pipe(whole[: len(whole) // 2])
    assert video("-") == 2
    out, said = capsys.readouterr()
    frames = [json.loads(line)["frame"] for line in out.splitlines()]
    assert frames == list(range(len(frames))) and 2 < len(frames) < COUNT
    assert said.startswith("acdc-fast: standard input: ends ") and said.count("\n") == 1
