"""Rows of the list of AFLW photographs with people's points (`aflw68`)."""

from __future__ import annotations

from acdc_fast.training.data.aflw68 import COLUMNS

HEADER = ",".join(COLUMNS)


def row(name: str, flags: list[int] | None, five: int = 0) -> str:
    """Point k of the 68 at (k + 0.5, 2 k); the five at 10 + five …; no flags: five points alone."""
    points = [str(10 + five + k) for k in range(10)]
    if flags is None:
        return ",".join([name, *points, *[""] * 204, "3", ""])
    places = ["," if f == 2 else f"{k + 0.5},{2 * k}" for k, f in enumerate(flags)]
    return ",".join([name, *points, *places, *map(str, flags), "3", "1.25"])
