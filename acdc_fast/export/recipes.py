"""How our own detector goes through a picture, as numbers for the metadata of its file. Needs no torch."""

from __future__ import annotations

from typing import Any

from ..detector import pyramid
from ..detector.plan import LEVELS
from ..photo import detection


def detector_recipe() -> dict[str, Any]:
    """What `find` of `detector.pyramid` goes by, by the names that it has there; ``min_score`` is its usual one."""
    low, high = pyramid.OWN_RANGE
    return {
        "strides": [stride for _, stride in LEVELS], "longest": pyramid.LONGEST, "needed": pyramid.NEEDED,
        "coarser": pyramid.COARSER, "whole": pyramid.WHOLE, "own_range": [low, high],
        "same": pyramid.SAME, "power": pyramid.POWER, "overlap": detection.Search().overlap,
        "inside": detection.INSIDE, "min_score": detection.OWN_THRESHOLD,
    }  # fmt: skip
