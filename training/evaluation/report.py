"""Turns observations into the numbers that evaluation prints, as plain values (JSON)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import metrics
from ..data.aflw68 import FLAGS
from ..fits.early_exit import last_stages
from ..loop.validation import normaliser
from ..observations import Observations
from .flagged import MARKUP, by_flag, in_sight
from .groups import by_group
from .uncertainty import uncertainty

Calibration = Mapping[str, tuple[float, ...]]

#: Numbers of MTFL's pose classes: the two profiles, and the frontal one.
PROFILES, FRONTAL = (1, 5), 3


def report(seen: Observations, calibration: Calibration | None = None, enough: float = 0.0) -> dict[str, Any]:
    """Errors in %, angles in degrees. A missed face has error 100 %. Poses of missed faces are left out.

    ``calibration``, from the weights, adds the calibration error of their confidence. ``enough`` is the mean spread
    at which ``stages="auto"`` ends (0: not measured).
    """
    values: dict[str, Any] = {"faces": len(seen.annotations), "missed": int(seen.missed.sum()), "markups": {}}
    for markup in seen.points[-1]:
        target, known = seen.labelled(markup)
        if len(known):
            values["markups"][markup] = _of_markup(seen, markup, target, known, calibration or {})
    target, known = seen.posed()
    known = known[~seen.missed[known]]
    if len(known) and seen.poses:
        target = np.array([seen.annotations[i].pose for i in known])
        values["pose"] = _of_pose(seen, target, known)
    attributes = seen.annotations[0].attributes
    if "pose" in attributes and "2d5" in values["markups"]:
        values["classes"] = _by_class(seen)
    if "2d5" in values["markups"] and (groups := by_group(seen)):
        values["groups"] = groups
    if FLAGS in attributes and MARKUP in seen.points[-1]:
        values["flagged"] = by_flag(seen)
        if sight := in_sight(seen):
            values["in_sight"] = sight
    if enough:
        values["auto"] = _ended_early(seen, enough)
    return values


def _ended_early(seen: Observations, enough: float) -> dict[str, Any]:
    """Results of ``stages="auto"``: mean number of stages, and the errors as in `_of_markup`."""
    ends, faces = last_stages(seen.mean_spreads, enough), np.arange(len(seen.annotations))
    values: dict[str, Any] = {"stages": float(ends.mean() + 1), "nme": {}, "nme_offset_removed": {}}
    for markup in seen.points[-1]:
        target, known = seen.labelled(markup)
        if len(known):
            points = np.stack([p[markup] for p in seen.points])[ends, faces][known]
            values["nme"][markup] = 100 * float(metrics.nme(points, target, normaliser(markup, target)).mean())
            if metrics.has_eye_line(markup):
                fair = metrics.offset_removed_nme(points, target, markup)
                values["nme_offset_removed"][markup] = 100 * float(fair.mean())
    return values


def _of_markup(
    seen: Observations, markup: str, target: np.ndarray, known: np.ndarray, calibration: Calibration
) -> dict[str, Any]:
    scale = normaliser(markup, target)
    stages = [metrics.nme(points[markup][known], target, scale) for points in seen.points]
    last = stages[-1]
    values: dict[str, Any] = {
        "faces": len(known),
        "nme": [100 * float(e.mean()) for e in stages],
        "median": 100 * float(np.median(last)),
        "auc": 100 * metrics.area_under_curve(last),
        "fr": 100 * metrics.failure_rate(last),
    }
    if metrics.has_eye_line(markup):
        fair = [metrics.offset_removed_nme(points[markup][known], target, markup) for points in seen.points]
        values["nme_offset_removed"] = [100 * float(e.mean()) for e in fair]
        values["median_offset_removed"] = 100 * float(np.median(fair[-1]))
    if markup.startswith("3d"):
        poses = [seen.annotations[i].pose for i in known]
        if all(p is not None for p in poses):
            ranges, mean = metrics.by_yaw(last, [p[0] for p in poses if p is not None])
            values["by_yaw"] = {name: 100 * v for name, v in ranges.items()} | {"mean": 100 * mean}
    values["doubt"] = uncertainty(seen, markup, calibration)
    return values


def _of_pose(seen: Observations, target: np.ndarray, known: np.ndarray) -> dict[str, Any]:
    stages = [metrics.euler_errors(pose[known], target) for pose in seen.poses]
    rows = [[*map(float, e.mean(0)), float(e.mean())] for e in stages]
    ranges, mean = metrics.by_yaw(stages[-1].mean(1), target[:, 0])
    return {"faces": len(known), "mae": rows, "by_yaw": ranges | {"mean": mean}}


def _by_class(seen: Observations) -> dict[str, Any]:
    """MTFL's pose classes: NME by √(w·h) of the points' box, and how well |yaw| separates profile and frontal."""
    target, known = seen.labelled("2d5")
    classes = np.array([int(seen.annotations[i].attributes["pose"]) for i in known])
    errors = metrics.nme(seen.points[-1]["2d5"][known], target, metrics.box_size(target))
    fair = metrics.offset_removed_nme(seen.points[-1]["2d5"][known], target)
    values: dict[str, Any] = {
        "faces": {int(c): int((classes == c).sum()) for c in np.unique(classes)},
        "nme_by_box": {int(c): 100 * float(errors[classes == c].mean()) for c in np.unique(classes)},
        "nme_offset_removed": {int(c): 100 * float(fair[classes == c].mean()) for c in np.unique(classes)},
    }
    profile, frontal = np.isin(classes, PROFILES), classes == FRONTAL
    if profile.any() and frontal.any():
        values["profile_to_frontal"] = float(errors[profile].mean() / errors[frontal].mean())
    if seen.poses:
        yaw = seen.poses[-1][known, 0]
        found = np.isfinite(yaw)
        if (profile & found).any() and (frontal & found).any():
            values["profile_auc"] = metrics.separation(np.abs(yaw[frontal & found]), np.abs(yaw[profile & found]))
        values["yaw"] = {int(c): float(yaw[found & (classes == c)].mean()) for c in np.unique(classes[found])}
    return values
