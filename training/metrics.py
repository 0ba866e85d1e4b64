"""The measures of evaluation (paper §IV-A). Plain numpy; points in any one unit, faces along the first axis.

A face that was not found is a row of NaN in the predictions. Its error counts as `MISS`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acdc_fast.markups import MARKUPS, of_count

Floats = NDArray[np.floating[Any]]

#: Error of a face that the detector missed: as large as the normaliser.
MISS = 1.0
#: Threshold of the failure rate, and end of the cumulative error distribution.
THRESHOLD = 0.1


def eye_corners(points: int, name: str | None = None) -> tuple[int, int]:
    """Numbers of the outer eye corners in the markup of this name, else in the first with this many points. For five
    points: the eye centres.

    Raises ``ValueError`` if they are unknown.
    """
    markup = of_count(points) if name is None else MARKUPS[name]
    if markup.eye_corners is None:
        raise ValueError(f"the eye corners of markup {markup.name!r} are unknown")
    return markup.eye_corners


def has_eye_line(markup: str) -> bool:
    """Whether errors of a markup can be given by the distance of the eyes, and offsets in the axes of their line."""
    return not markup.startswith("3d") and MARKUPS[markup].eye_corners is not None


def eye_distance(points: ArrayLike, markup: str | None = None) -> Floats:
    """(N, L, 2) labels of a markup → (N,) distance of the outer eye corners (5 points: of the eyes)."""
    points = np.asarray(points, np.float64)
    left, right = eye_corners(points.shape[1], markup)
    return np.asarray(np.linalg.norm(points[:, right] - points[:, left], axis=1))


def box_size(points: ArrayLike) -> Floats:
    """(N, L, 2) labels → (N,) √(width·height) of their bounding box, the normaliser of 3D landmarks."""
    extent = np.ptp(np.asarray(points, np.float64), axis=1)
    return np.asarray(np.sqrt(extent[:, 0] * extent[:, 1]))


def point_errors(predicted: ArrayLike, target: ArrayLike, normaliser: ArrayLike) -> Floats:
    """(N, L, 2), (N, L, 2), (N,) → (N, L) distances divided by the normaliser; `MISS` for faces not found."""
    gap = np.linalg.norm(np.asarray(predicted, np.float64) - np.asarray(target, np.float64), axis=2)
    errors = gap / np.asarray(normaliser, np.float64)[:, None]
    missed = ~np.isfinite(np.asarray(predicted, np.float64)).all(axis=(1, 2))
    errors[missed] = MISS
    return np.asarray(errors)


def nme(predicted: ArrayLike, target: ArrayLike, normaliser: ArrayLike) -> Floats:
    """(N,) normalised mean error of each face: mean over its points of `point_errors`."""
    return np.asarray(point_errors(predicted, target, normaliser).mean(1))


def failure_rate(errors: ArrayLike, threshold: float = THRESHOLD) -> float:
    """Share of faces whose error exceeds the threshold (FR@0.1)."""
    return float(np.mean(np.asarray(errors) > threshold))


def area_under_curve(errors: ArrayLike, threshold: float = THRESHOLD) -> float:
    """AUC@0.1: area under the cumulative error distribution from 0 to the threshold, divided by it.

    Exact: a face with error e adds a rectangle of width threshold − e.
    """
    return float(np.mean(np.clip(threshold - np.asarray(errors, np.float64), 0, None)) / threshold)


def euler_errors(predicted: ArrayLike, target: ArrayLike) -> Floats:
    """(N, 3), (N, 3) yaw, pitch, roll in degrees → (N, 3) absolute errors, the shorter way round."""
    gap = np.abs(np.asarray(predicted, np.float64) - np.asarray(target, np.float64)) % 360
    return np.asarray(np.minimum(gap, 360 - gap))


#: AFLW2000-3D's ranges of |yaw| in degrees. A bound belongs to the range above it; 90 belongs to the last range.
YAW_RANGES = ((0, 30), (30, 60), (60, 90))


def by_yaw(values: ArrayLike, yaw: ArrayLike) -> tuple[dict[str, float], float]:
    """Means of values (N,) by range of |yaw| (N,), and the mean of these means (ranges with faces only)."""
    values, yaw = np.asarray(values, np.float64), np.abs(np.asarray(yaw, np.float64))
    means = {}
    for low, high in YAW_RANGES:
        inside = (yaw >= low) & ((yaw < high) | ((high == 90) & (yaw == 90)))
        if inside.any():
            means[f"[{low},{high}]"] = float(values[inside].mean())
    return means, float(np.mean(list(means.values()))) if means else float("nan")


def face_axes(target: ArrayLike, markup: str | None = None) -> tuple[Floats, Floats]:
    """(N, L, 2) labels → eye-line axes (N, 2, 2), rows along the eyes and across, and eye distance (N,)."""
    target = np.asarray(target, np.float64)
    left, right = eye_corners(target.shape[1], markup)
    distance = eye_distance(target, markup)
    along = (target[:, right] - target[:, left]) / distance[:, None]
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    return np.stack([along, across], 1), distance


def eye_line_gaps(predicted: ArrayLike, target: ArrayLike, markup: str | None = None) -> Floats:
    """(N, L, 2) from each label to its point, along the face's eye line and across, in eye distances.

    NaN where the label or the point is unknown.
    """
    predicted, target = np.asarray(predicted, np.float64), np.asarray(target, np.float64)
    axes, distance = face_axes(target, markup)
    return np.asarray(np.einsum("nij,nlj->nli", axes, predicted - target) / distance[:, None, None])


def offsets_removed(gap: ArrayLike) -> Floats:
    """(N, L, 2) gaps → the same, each point's mean offset subtracted.

    The even faces give the offsets for the odd ones, and the odd for the even. A NaN gives none. A point that no face
    of a half knows has the offset 0.
    """
    gap = np.asarray(gap, np.float64)
    known, fair, half = np.isfinite(gap), gap.copy(), np.arange(len(gap)) % 2
    for part in (0, 1):
        others = half != part
        count = known[others].sum(0)
        fair[~others] -= np.where(known, gap, 0.0)[others].sum(0) / np.maximum(count, 1)
    return np.asarray(fair)


def offset_removed_errors(predicted: ArrayLike, target: ArrayLike, markup: str | None = None) -> Floats:
    """(N, L) point errors by eye distance after each point's mean offset is subtracted (`offsets_removed`).

    Faces not found have no part in the offsets and keep the error `MISS`.
    """
    errors = np.linalg.norm(offsets_removed(eye_line_gaps(predicted, target, markup)), axis=2)
    errors[~np.isfinite(np.asarray(predicted, np.float64)).all(axis=(1, 2))] = MISS
    return np.asarray(errors)


def offset_removed_nme(predicted: ArrayLike, target: ArrayLike, markup: str | None = None) -> Floats:
    """(N,) mean of `offset_removed_errors` over the points."""
    return np.asarray(offset_removed_errors(predicted, target, markup).mean(1))


def separation(low: ArrayLike, high: ArrayLike) -> float:
    """Probability that a value of ``high`` exceeds one of ``low``: the area under the ROC curve, ties count half."""
    low, high = np.sort(np.asarray(low, np.float64)), np.asarray(high, np.float64)
    below = np.searchsorted(low, high, "left")
    ties = np.searchsorted(low, high, "right") - below
    return float((below + ties / 2).sum() / (len(low) * len(high)))


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float | None:
    """Spearman's: correlation of the ranks, ties share a rank. None if either is constant."""
    from scipy.stats import spearmanr

    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(spearmanr(a, b).statistic)
