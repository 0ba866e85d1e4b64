"""The ``.pts`` files of iBUG's databases. They count pixels from 1; one is taken off."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError

from .beside import Labels
from .broken import Broken
from .text import numbers, read_lines


def read_pts(path: Path, count: int = 68) -> np.ndarray:
    """(count, 2) float32 pixels, centres at integers. Raises `InputError` with file and line."""
    lines = list(read_lines(path))
    body = [i for i, (_, line) in enumerate(lines) if line.strip() in "{}"]
    if len(body) != 2 or [lines[i][1].strip() for i in body] != ["{", "}"]:
        raise InputError(f"{path}: a .pts file has its points between {{ and }}")
    rows = lines[body[0] + 1 : body[1]]
    if len(rows) != count:
        raise InputError(f"{lines[body[1]][0]}: {count} points expected, {len(rows)} found")
    strict = Broken()
    return np.array([numbers(line.split(), 2, where, strict) for where, line in rows], np.float32) - 1


LABELS = Labels("2d68", ".pts", lambda path: (read_pts(path), None))
