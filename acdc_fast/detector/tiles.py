"""How a side of a picture is parted into tiles, and how many may be worked on at a time."""

from __future__ import annotations

import os

import numpy as np


def parts(length: int, longest: int, shared: int) -> list[tuple[int, int]]:
    """First and end of equal parts of at most ``longest`` that share at least ``shared`` with their neighbours."""
    count = max(1, int(np.ceil((length - shared) / (longest - shared))))
    size = min(length, int(np.ceil((length + (count - 1) * shared) / count)))
    starts = [round(i * (length - size) / max(1, count - 1)) for i in range(count)]
    return [(start, start + size) for start in starts]


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
