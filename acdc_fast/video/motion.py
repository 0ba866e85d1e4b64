"""How a face moves from one frame to the next, read from the picture itself.

Landmarks jitter; the picture of the face does not. Between two frames the displacement is a polynomial of degree two in
the place: enough for a head that shifts, turns in the picture and out of it, and comes nearer. It is what makes a small
cut of the second frame equal that of the first (Lucas and Kanade, IJCAI 1981, by Gauss-Newton steps).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..photo.coordinates import square_from_box
from ..photo.crops import crop_faces

#: Pixels across the cut. 64 find the motion 8 % better and cost twice the time; 32 find it 30 % worse.
SIZE = 48
#: Pixels of the picture that are read for one of the cut at least, in each direction, where it has so many.
SAMPLES = 4
#: Side of the cut, in sides of the square that the network sees: from the brows to the chin.
SIDE = 0.8
#: The cut counts by a bell about its middle of this width, of half its side: the background moves in its own way.
WIDTH = 0.6
#: Grey values of [0, 1] that differ by more than this count less: a hand, a highlight, a lid. Noise is below it.
ROBUST = 0.02
#: Weight of the squared polynomial beside the squared differences, against motions that the picture does not show.
RIDGE = 0.03
#: Steps at most; they end when no place would move by more than this, in pixels of the cut.
STEPS, STILL = 4, 0.03
#: The motion is believed where this share of the cut agrees to half its contrast, the mean distance of its grey values
#: from their mean. Of two cuts that have nothing in common a quarter agrees; a hand may hide the rest.
AGREES = 0.6
#: Nothing is read from a cut with less contrast than this: it is flat.
FLAT = 0.01


@dataclass(frozen=True)
class Motion:
    """Displacement of each place near a face."""

    square: np.ndarray  # (4,) the square of the first frame's cut
    shift: np.ndarray  # (2,) pixels of the picture
    numbers: np.ndarray  # (6, 2) of the polynomial, pixels of the picture

    def at(self, points: np.ndarray) -> np.ndarray:
        """(L, 2) places in the first frame → (L, 2) how far they move, in pixels."""
        return np.asarray(_powers((points - self.square[:2]) / self.square[2] * 2) @ self.numbers + self.shift)


class Cut:
    """The cut of a face in one frame, kept until the next."""

    def __init__(self, rgb: np.ndarray, box: np.ndarray) -> None:
        """(H, W, 3) uint8 and the face's (4,) box."""
        self.square = square_from_box(box)[0] * (1, 1, SIDE, 1)
        self.grey = _cut(rgb, self.square)

    def motion(self, rgb: np.ndarray, starts: list[np.ndarray]) -> Motion | None:
        """To the next frame; None where no motion explains it. ``starts``: (2,) shifts in pixels, of which the best
        is where the steps begin."""
        shifted = [(_cut(rgb, self.square + [*start, 0, 0]), start) for start in starts]
        seen, shift = min(shifted, key=lambda cut: _spread(self.grey - cut[0]))
        slope_y, slope_x = np.gradient((self.grey + seen) / 2)
        slopes = np.concatenate([slope_x.reshape(-1, 1) * _TERMS, slope_y.reshape(-1, 1) * _TERMS], 1)
        numbers = np.zeros(2 * _TERMS.shape[1])
        off = (self.grey - seen).ravel()
        for _ in range(STEPS):
            weight = _BELL / np.maximum(1, np.abs(off) / ROBUST)
            off -= (weight * off).sum() / weight.sum()  # the light may change
            weighted = (slopes * weight[:, None]).T
            step = np.linalg.solve(weighted @ slopes + RIDGE * np.eye(len(numbers)), weighted @ off)
            numbers += step
            moved = _TERMS @ numbers.reshape(2, -1).T
            off = self.grey.ravel() - _sampled(seen, _PLACES + moved)
            if np.abs(_TERMS @ step.reshape(2, -1).T).max() < STILL:
                break
        contrast, weight = _spread(self.grey), _BELL / np.maximum(1, np.abs(off) / ROBUST)
        agrees = np.abs(off - (weight * off).sum() / weight.sum()) < contrast / 2
        if contrast < FLAT or (_BELL * agrees).sum() < AGREES * _BELL.sum():
            return None
        return Motion(self.square, np.asarray(shift), numbers.reshape(2, -1).T * (self.square[2] / SIZE))


def _cut(rgb: np.ndarray, square: np.ndarray) -> np.ndarray:
    """(SIZE, SIZE) grey. Of a large face not every pixel is read."""
    step = max(1, int(square[2] / (SIZE * SAMPLES)))
    return np.asarray(crop_faces(rgb[::step, ::step], (square / (step, step, step, 1))[None], SIZE)[0, 0])


def _spread(values: np.ndarray) -> float:
    """Mean distance from the mean, by the bell."""
    values = values.ravel()
    total = _BELL.sum()
    return float((np.abs(values - (values * _BELL).sum() / total) * _BELL).sum() / total)


def _powers(places: np.ndarray) -> np.ndarray:
    """(…, 2) → (…, 6): 1, x, y, x², xy, y²."""
    x, y = places[..., 0], places[..., 1]
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)


def _sampled(cut: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Bilinear values at (n, 2) places in pixels; the edge goes on."""
    x, y = np.clip(places, 0, SIZE - 1.001).T
    left, top = x.astype(np.intp), y.astype(np.intp)
    x, y = x - left, y - top
    flat, at = cut.ravel(), top * SIZE + left
    above = flat[at] + (flat[at + 1] - flat[at]) * x
    below = flat[at + SIZE] + (flat[at + SIZE + 1] - flat[at + SIZE]) * x
    return np.asarray(above + (below - above) * y)


#: (n, 2) pixels of the cut row by row, their powers from −1 to 1 across the cut, and the bell.
_PLACES = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1).reshape(-1, 2).astype(np.float64)
_TERMS = _powers((_PLACES + 0.5) / SIZE * 2 - 1)
_BELL = np.exp(-(_TERMS[:, 1] ** 2 + _TERMS[:, 2] ** 2) / (2 * WIDTH**2))
