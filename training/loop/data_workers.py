"""Processes that load data (torch's DataLoader): how their end reaches the process that trains."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def worker_ended(error: Exception) -> str | None:
    """What is gone, in words, if the error came from a process that loads data and ended. Else None.

    Torch has no class for it. Its handler of SIGCHLD raises a `RuntimeError`; a read from a process that is just
    ending is cut off first, and that is not a fault of any file.
    """
    said = str(error).strip()
    if isinstance(error, ConnectionError | EOFError) or said.startswith("DataLoader worker"):
        why = "if nobody ended it, memory is too small: lower workers"
        return f"a process that loads data ended ({said or 'cut off'}); {why}"
    return None


@contextmanager
def workers_heard() -> Iterator[None]:
    """Takes torch's handler of SIGCHLD away after the block.

    It raises wherever it strikes: after the first sign of an end also in the line that says so, or where the workers
    are let go. A later loader of this process notices an end without it, within five seconds.
    """
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGCHLD) if main and hasattr(signal, "SIGCHLD") else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGCHLD, before)
