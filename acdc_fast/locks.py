"""A folder belongs to one run at a time."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import AcdcError


@contextmanager
def locked(folder: Path, patience: float = 20.0) -> Iterator[int]:
    """Holds a folder for one run, and gives the lock's handle. Raises `AcdcError` where another run holds it.

    The system lets go of the lock when the last process that has the handle ends. So one that was killed locks nothing;
    but processes that it started may have the handle too, and need up to ``patience`` seconds to see its end.
    """
    if sys.platform == "win32":  # no such locks
        yield -1
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, folder, patience)
        yield handle
    finally:
        os.close(handle)


def lock(handle: int, folder: Path, patience: float = 0.0) -> None:
    """Locks an open file or folder. Raises `AcdcError`, which names ``folder``, where another process holds it."""
    if sys.platform != "win32":
        import fcntl

        begun = time.monotonic()
        while True:
            try:
                return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() - begun >= patience:
                    message = f"{folder}: another run is at work there; wait for it or choose another output"
                    raise AcdcError(message) from None
                time.sleep(0.1)
            except OSError:  # a file system without locks
                return
