"""Errors on 68 points by what people say of each point (`data.aflw68`), in sight or covered, inner face or jaw, and by
the face's pose class.

Points that are turned away have no label. Errors are in % of the distance of the outer eye corners, so a face whose
corner is turned away is left out. A face's error is the mean over its points of the kind, at most 100. A face that the
detector missed has 100. The offset of each point is its mean, in the axes of the eyes' line, over one half of the
faces; it is subtracted on the other half.
"""

from __future__ import annotations

import numpy as np

from .. import metrics
from ..data.aflw68 import COVERED_FLAG, FLAGS, VISIBLE_FLAG
from ..fits.visibility_fit import told_apart
from ..observations import Observations

MARKUP = "2d68"
#: The first points of the 68 are the jaw's.
JAW = 17
#: MTFL's pose classes, which AFLW's photographs have too: all labelled points of the faces of a class are a kind.
CLASSES = {"frontal": (3,), "half-profile": (2, 4), "profile": (1, 5)}


def by_flag(seen: Observations) -> dict[str, list[float]]:
    """Kind of points → [mean error, mean error with the offset removed, number of points]."""
    annotations = seen.annotations
    target = np.array([a.landmarks[MARKUP] for a in annotations], np.float64)
    flags = np.array([a.attributes[FLAGS] for a in annotations])
    gap = metrics.eye_line_gaps(seen.points[-1][MARKUP], target, MARKUP)
    fair = metrics.offsets_removed(gap)
    inner, labelled = np.arange(flags.shape[1]) >= JAW, (flags == VISIBLE_FLAG) | (flags == COVERED_FLAG)
    kinds = {
        "all": labelled, "visible": flags == VISIBLE_FLAG, "covered": flags == COVERED_FLAG,
        "inner": labelled & inner, "jaw": labelled & ~inner,
    }  # fmt: skip
    if all("pose" in a.attributes for a in annotations):
        turned = np.array([int(a.attributes["pose"]) for a in annotations])
        kinds |= {name: labelled & np.isin(turned, those)[:, None] for name, those in CLASSES.items()}
    measured = np.isfinite(metrics.eye_distance(target, MARKUP))
    return {
        kind: [*(_mean(g, taken, seen.missed, measured) for g in (gap, fair)), float(taken[measured].sum())]
        for kind, taken in kinds.items()
        if taken[measured].any()
    }


def in_sight(seen: Observations) -> dict[str, float]:
    """How well ``faces.visible`` tells people's flags, over all points of the faces that the detector found:
    `told_apart`. Empty where the chances were not read out, or where points in sight or hidden ones are lacking."""
    if seen.visible is None:
        return {}
    flags = np.array([a.attributes[FLAGS] for a in seen.annotations])[~seen.missed]
    shown = flags == VISIBLE_FLAG
    return told_apart(seen.visible[~seen.missed], flags) if shown.any() and not shown.all() else {}


def _mean(gap: np.ndarray, taken: np.ndarray, missed: np.ndarray, measured: np.ndarray) -> float:
    """Mean over the faces, %. ``gap`` (N, L, 2) eye distances, ``taken`` (N, L) points, ``measured`` (N,) faces."""
    errors = np.where(taken & ~missed[:, None], np.linalg.norm(gap, axis=2), 0.0)
    count = taken.sum(1)
    of_face = np.where(missed, metrics.MISS, errors.sum(1) / np.maximum(count, 1))
    return 100 * float(np.minimum(of_face, metrics.MISS)[measured & (count > 0)].mean())
