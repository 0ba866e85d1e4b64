"""Crops that do not fit their face, from boxes of another kind than the detector's: seen, and cut again.

A crop fits where its own points would ask for nearly the same crop. Where they ask for another one it is cut as they
say. Where the maps are so wide that the points say nothing, smaller and larger crops are tried. The best of them is
told by the narrowest markup's spread, in sides of the crop that the points ask for: a face that is small in its crop
has narrow maps, and sure ones, however wrong they are. `docs/notes/accuracy.md` has the errors over boxes of other
scales, places and kinds, and the detector's own, which cost no second crop.
"""

from __future__ import annotations

import numpy as np

from ..markups import first_of, five_points
from ..photo import coordinates as geometry
from ..types import Prediction
from .confidence import narrowest_spread

#: Cuts after the first at most.
CUTS = 2
#: A crop fits where the crop that its points ask for has a side between these multiples of its own …
SMALLER, LARGER = 0.82, 1.25
#: … and its centre this near, in sides of the crop.
AWAY = 0.14
#: Beyond this multiple of the usual spread the points say nothing: the crops of `TRIED` are looked at as well.
LOST = 1.9
#: (x, y, side) in the crop: smaller ones in the middle and above it, where heads are, and a larger one.
TRIED = ((0.5, 0.5, 0.45), (0.5, 0.3, 0.45), (0.5, 0.45, 0.65), (0.5, 0.5, 1.8))
#: A new crop is believed where it brings the measure below this multiple of what it was; a tried one must do more.
BETTER, MUCH_BETTER = 0.95, 0.7
#: Markups with the five points, the steadiest first.
MARKUPS = ("2d5", "2d68", "3d68", "2d98")


class Fit:
    """How well N crops fit their faces."""

    def __init__(self, prediction: Prediction, usual: float) -> None:
        markup = first_of(prediction.landmarks, MARKUPS, with_five=True)
        #: (N, 4) squares that the points ask for, in crop units; the crop itself where no markup has the five points.
        count = len(next(iter(prediction.landmarks.values())))
        self.asked = np.tile([0.5, 0.5, 1.0, 0.0], (count, 1))
        if markup is not None:
            self.asked = geometry.square_from_points(five_points(prediction.landmarks[markup], markup))
        side = np.maximum(self.asked[:, 2], 1e-6)
        spread = narrowest_spread(prediction) / usual
        #: (N,) the less, the better.
        self.measure = spread * np.maximum(side, 1 / side)
        away = np.hypot(*(self.asked[:, :2] - 0.5).T)
        self.lost = spread > LOST
        self.fits = (side >= SMALLER) & (side <= LARGER) & (away <= AWAY) & ~self.lost


def new_squares(squares: np.ndarray, fit: Fit, first: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, 4) squares → M squares to look at instead, (M,) whose they are, (M,) what each must bring the measure below.

    ``first``: the first time, when those that are lost are tried otherwise too."""
    again, faces, limits = [], [], []
    for i in np.flatnonzero(~fit.fits):
        cx, cy, side = fit.asked[i, :3]
        asked = [((cx, cy, min(max(side, 0.3), 3.0)), BETTER)]
        if first and fit.lost[i]:
            asked += [(tried, MUCH_BETTER) for tried in TRIED]
        for (x, y, scale), limit in asked:
            center = geometry.crop_to_image(np.array([[[x, y]]]), squares[i : i + 1])[0, 0]
            again.append([*center, squares[i, 2] * scale, squares[i, 3]])
            faces.append(i)
            limits.append(limit)
    return np.array(again, np.float64).reshape(-1, 4), np.array(faces, np.int64), np.array(limits, np.float64)


def chosen(fit: Fit, again: Fit, faces: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which faces get a new crop, and which of the new ones: that of the least measure."""
    to, source = [], []
    for i in np.unique(faces):
        those = np.flatnonzero(faces == i)
        those = those[again.measure[those] < limits[those] * fit.measure[i]]
        if len(those):
            to.append(i)
            source.append(those[again.measure[those].argmin()])
    return np.array(to, np.int64), np.array(source, np.int64)
