"""Finds crops that do not fit their face, because the box was of another kind than the detector's, and cuts them again.

A crop fits if the crop that its own points ask for is nearly the same. If it is another one, that one is cut. If the
maps are so wide that the points cannot be trusted, smaller and larger crops are tried. The best crop is the one with
the smallest spread of the narrowest markup: as a share of the crop's side, or of the side that the points ask for where
that is smaller. The maps of a small face in a large crop are narrow, even where they are wrong.

The second cut brings each crop that was cut to the place that its points ask for. Then the crop is nearly the same
whatever the box was, and so is the pose, which moves with the crop: by 3° or more for one face in twenty where the crop
is a tenth larger. `docs/notes/accuracy.md` has the errors for boxes of other sizes, places and kinds. Of the detector's
own boxes few are cut again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import InputError, shown
from ..markups import first_of, five_points
from ..photo import coordinates as geometry
from ..photo.coordinates import box_from_five
from .reading import Reading

#: Cuts after the first at most.
CUTS = 2
#: (x, y, side) in the crop: smaller ones in the middle and above it, where heads are, and a larger one.
TRIED = ((0.5, 0.5, 0.45), (0.5, 0.3, 0.45), (0.5, 0.45, 0.65), (0.5, 0.5, 1.8))
#: Markups with the five points, the steadiest first.
MARKUPS = ("2d5", "2d68", "3d68", "2d98")


@dataclass(frozen=True)
class Limits:
    """When a crop is cut again. They belong to the weights, whose card may say others: ``second_look``, as JSON."""

    #: A crop fits where the crop that its points ask for has a side from this multiple of its own …
    smaller: float = 0.85
    larger: float = 1.18  # … to this
    away: float = 0.12  # … and its centre this near, in sides of the crop
    settled: float = 0.03  # a crop that was cut is cut once more where side or centre are off by more than this share
    lost: float = 1.9  # beyond this multiple of the usual spread the points say nothing: those of `TRIED` are looked at
    worse: float = 1.3  # the crop that other points ask for is believed where its measure is below this multiple
    better: float = 0.95  # that of lost points is believed where it brings the measure below this multiple …
    much_better: float = 0.7  # … and one of `TRIED` below this …
    seen: float = 2.5  # … and the measure itself, in usual spreads, below this: maps of a hard profile are all wide


#: Of weights whose card says none.
USUAL = Limits()
#: Least and most that a card may say.
BOUNDS = {"smaller": (0.1, 1), "larger": (1, 10), "away": (0.01, 1), "settled": (0, 1), "lost": (1, 10),
          "worse": (0, 10), "better": (0, 1), "much_better": (0, 1),
          "seen": (0, 10)}  # fmt: skip


def limits_of(card: Mapping[str, str], where: str) -> Limits:
    """The card's limits; the usual ones where it names none. Raises `InputError` for impossible values."""
    text = card.get("second_look", "{}")
    try:
        values = json.loads(text) if len(text) < 1000 else None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InputError(f"{where}: card: second_look must hold numbers by name, not {shown(text)}")
    for name, value in values.items():
        if name not in BOUNDS:
            raise InputError(f"{where}: card: second_look knows no {shown(name)}; it may set {', '.join(BOUNDS)}")
        least, most = BOUNDS[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise InputError(
                f"{where}: card: second_look: {name} must be a number from {least} to {most}, not {shown(value)}"
            )
    return Limits(**{name: float(value) for name, value in values.items()})


class Fit:
    """How well N crops fit their faces."""

    def __init__(self, reading: Reading, usual: float, limits: Limits = USUAL) -> None:
        self.limits = limits
        markup = first_of(reading.slices, MARKUPS, with_five=True)
        #: (N, 4) squares that the points ask for, in crop units; the crop itself where no markup has the five points.
        if markup is None:
            self.asked = np.tile([0.5, 0.5, 1.0, 0.0], (len(reading), 1))
        else:
            self.asked = geometry.square_from_box(box_from_five(five_points(reading.of(markup), markup)))
        side = np.maximum(self.asked[:, 2], 1e-6)
        spread = reading.narrowest / usual
        #: (N,) the less, the better.
        self.measure = spread * np.maximum(1, 1 / side)
        away = np.hypot(*(self.asked[:, :2] - 0.5).T)
        self.lost = spread > limits.lost
        #: (N,) whether the crop is the one that its points ask for.
        self.settled = (abs(side - 1) <= limits.settled) & (away <= limits.settled) & ~self.lost
        self.fits = (side >= limits.smaller) & (side <= limits.larger) & (away <= limits.away) & ~self.lost


def new_squares(
    squares: np.ndarray, fit: Fit, moved: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, 4) squares → M squares to look at instead, (M,) whose they are, (M,) what the measure of each must be below.

    ``moved``: the faces that have got a new crop; None the first time, when those that are lost are tried otherwise
    too."""
    faces, asked, limits = [], [], []
    for i in (np.flatnonzero(~fit.fits) if moved is None else moved[~fit.settled[moved]]).tolist():
        x, y, side = fit.asked[i, :3].tolist()
        tried = TRIED if moved is None and fit.lost[i] else ()
        faces += [i] * (1 + len(tried))
        asked += [(x, y, min(max(side, 0.3), 3.0)), *tried]
        limits.append(fit.measure[i] * (fit.limits.better if fit.lost[i] else fit.limits.worse))
        limits += [min(fit.measure[i] * fit.limits.much_better, fit.limits.seen)] * len(tried)
    if not faces:
        return np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0)
    old, units = squares[faces], np.array(asked)
    centre = geometry.crop_to_image(units[:, None, :2], old)[:, 0]
    return np.column_stack([centre, old[:, 2] * units[:, 2], old[:, 3]]), np.array(faces), np.array(limits)


def chosen(again: Fit, faces: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which faces get a new crop, and which of the new ones: that of the least measure."""
    good = np.flatnonzero(again.measure < limits)
    good = good[np.lexsort((again.measure[good], faces[good]))]
    to, first = np.unique(faces[good], return_index=True)
    return to, good[first]
