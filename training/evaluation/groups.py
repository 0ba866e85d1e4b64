"""Errors by group of people and pictures: does the network serve all alike? Five points, offset removed."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import metrics
from ..observations import Observations

#: MTFL's attributes and what their numbers mean. The labels of gender are the annotators' view of a picture.
GROUPS = {
    "gender": {1: "labelled male", 2: "labelled female"},
    "smile": {1: "smiling", 2: "not smiling"},
    "glasses": {1: "with glasses", 2: "without glasses"},
}
#: Shares of the faces that count as dark and as bright.
DARKEST, BRIGHTEST = 0.25, 0.75


def by_group(seen: Observations) -> dict[str, dict[str, float]]:
    """Group → number of faces, mean and standard error of the five points' error in % of the eyes' distance. The offset
    of each point is that over all faces, so that groups are compared by one measure."""
    target, known = seen.labelled("2d5")
    errors = 100 * metrics.offset_removed_nme(seen.points[-1]["2d5"][known], target)
    found: dict[str, dict[str, float]] = {}
    for attribute, names in GROUPS.items():
        values = np.array([seen.annotations[i].attributes.get(attribute, 0) for i in known])
        for value, name in names.items():
            _add(found, name, errors[values == value])
    light = seen.light[known]
    if np.isfinite(light).any():
        dark, bright = np.nanquantile(light, (DARKEST, BRIGHTEST))
        _add(found, "darkest quarter", errors[light <= dark])
        _add(found, "brightest quarter", errors[light >= bright])
    return found


def _add(found: dict[str, dict[str, float]], name: str, errors: np.ndarray) -> None:
    if len(errors) > 1:
        spread: Any = errors.std(ddof=1) / np.sqrt(len(errors))
        found[name] = {"faces": len(errors), "error": float(errors.mean()), "standard_error": float(spread)}
