"""A film's path, a stream's address, a webcam's number or standard input, opened by PyAV."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..errors import InputError

#: Seconds that a stream may take to open, and between two reads.
PATIENCE = (10.0, 10.0)
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
ACCEPTED = "a film, - for stdin, a stream's address, a webcam's number, a folder of pictures, frames/%05d.png, '*.jpg'"


def opened(av: Any, source: str) -> Any:
    """PyAV's container. Raises `InputError`, one line."""
    try:
        if source == "-":
            return av.open(_standard_input(sys.stdin.buffer))
        if Path(source).is_file():
            return av.open(source)
        if ADDRESS.match(source):
            return av.open(source, timeout=PATIENCE)
        if re.fullmatch(r"[0-9]{1,3}", source):
            return _webcam(av, int(source))
    except (av.FFmpegError, OSError, ValueError) as error:
        line = " ".join(str(error).split()) or type(error).__name__
        name = "standard input" if source == "-" else source
        what = f"webcam {source}: cannot be opened" if source.isdigit() else f"{name}: is not a video that can be read"
        raise InputError(f"{what} ({line})") from error
    raise InputError(f"{source}: no such file; it may be {ACCEPTED}")


def endless(source: str) -> bool:
    """Whether it is a webcam or a stream: its user ends it. A film ends by itself."""
    return not Path(source).exists() and bool(ADDRESS.match(source) or re.fullmatch(r"[0-9]{1,3}", source))


class _Joined:
    """What was read of a pipe, then the rest of it. PyAV reads it as it comes, and cannot go back."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return bytes(self._rest.read1(size))


def _standard_input(file: Any) -> Any:
    """The open file that PyAV reads. A pipe cannot be read backwards, but the index of most .mp4 and .mov is at their
    end: such a film goes to a temporary file first."""
    if file.seekable():
        return file
    head = file.read(8)  # of a box: its length and kind
    if head[4:] == b"ftyp":
        head += file.read(min(int.from_bytes(head[:4], "big"), 4096))  # the rest of it, and the beginning of the next
        late = head[-4:] != b"moov"  # the index
    else:
        late = head[4:] in (b"mdat", b"wide", b"free", b"skip")
    if not late:
        return _Joined(head, file)
    copy = tempfile.TemporaryFile()  # noqa: SIM115 (PyAV reads it while the film is open)
    copy.write(head)
    shutil.copyfileobj(file, copy)
    copy.seek(0)
    return copy


def _webcam(av: Any, number: int) -> Any:
    if sys.platform.startswith("linux"):
        return av.open(f"/dev/video{number}", format="v4l2")
    if sys.platform == "darwin":
        return av.open(str(number), format="avfoundation", options={"framerate": "30"})
    raise InputError(f"webcam {number}: on this system a camera has no number; use a stream's address")
