"""Names, sizes and times of what a job reads, and their digest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2", ".avif")


def printable(name: str) -> str:
    """A file's name as UTF-8 can hold it: bytes that are no text are written as \\xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def stamp(path: Path) -> str:
    """Size and time of change: another picture under the same name has another."""
    try:
        status = path.stat()
    except OSError:  # such as a link that leads nowhere
        return "-"
    return f"{status.st_size} {status.st_mtime_ns}"


def digest_of(lines: Any) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(str(line).encode() + b"\n")
    return digest.hexdigest()
