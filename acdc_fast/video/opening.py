"""A film's path, a stream's address or a webcam's number, opened by PyAV."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from ..errors import InputError

#: Seconds that a stream may take to open, and between two reads.
PATIENCE = (10.0, 10.0)


def opened(av: Any, source: str) -> Any:
    """PyAV's container. Raises `InputError`, one line."""
    try:
        if Path(source).is_file():
            return av.open(source)
        if re.match(r"[a-z][a-z0-9+.-]+://", source, re.IGNORECASE):
            return av.open(source, timeout=PATIENCE)
        if re.fullmatch(r"[0-9]{1,3}", source):
            return _webcam(av, int(source))
    except (av.FFmpegError, OSError, ValueError) as error:
        line = " ".join(str(error).split()) or type(error).__name__
        what = (
            f"webcam {source}: cannot be opened" if source.isdigit() else f"{source}: is not a video that can be read"
        )
        raise InputError(f"{what} ({line})") from error
    raise InputError(f"{source}: no such file")


def endless(source: str) -> bool:
    """Whether it is a webcam or a stream: its user ends it. A film ends by itself."""
    return not Path(source).is_file()


def _webcam(av: Any, number: int) -> Any:
    if sys.platform.startswith("linux"):
        return av.open(f"/dev/video{number}", format="v4l2")
    if sys.platform == "darwin":
        return av.open(str(number), format="avfoundation", options={"framerate": "30"})
    raise InputError(f"webcam {number}: on this system a camera has no number; use a stream's address")
