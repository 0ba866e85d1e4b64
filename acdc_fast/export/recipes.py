"""How our own detector goes through a picture, as numbers for the metadata of its file. Needs no torch."""

from __future__ import annotations

from typing import Any

from ..detector import pyramid
from ..detector.plan import LEVELS
from ..photo import detection, verification


def detector_recipe() -> dict[str, Any]:
    """What `find` of `detector.pyramid` goes by, by the names that it has there. Cells count from ``least`` on; of the
    boxes that are made of them those from ``min_score`` on, or, where there are none, from ``only`` on."""
    low, high = pyramid.OWN_RANGE
    return {
        "strides": [stride for _, stride in LEVELS], "longest": pyramid.LONGEST, "needed": pyramid.NEEDED,
        "coarser": pyramid.COARSER, "whole": pyramid.WHOLE, "own_range": [low, high],
        "same": pyramid.SAME, "power": pyramid.POWER, "overlap": detection.Search().overlap,
        "inside": detection.INSIDE, "least": min(detection.OWN_ONLY, verification.DOUBTFUL),
        "min_score": detection.OWN_THRESHOLD, "only": detection.OWN_ONLY,
    }  # fmt: skip
