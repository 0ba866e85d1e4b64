"""Our own network proposes faces, the library verifies those of which the network is not sure.

Each of these is cut out with what lies around it and scaled so that the face has the size at which the library sees
well. So the library looks at small pictures alone, and small faces are verified enlarged.

The library does not see a face that lies on its side. The network does, but is seldom sure of it. So beside faces that
are found, the boxes that the library refused are looked at in turned cuts.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from ..detector import pyramid
from .looks import TURNS, Look, found_by_look, scaled_size, turned_back

#: From this score on a box of the network needs no verification. From the second on it is verified; from the third on
#: where the picture has no sure box, because a face that the network does not see well may be the only one.
SURE, DOUBTFUL, PROPOSED = 0.95, 0.5, 0.3
#: The library must give a box of at least this score, with at least this intersection over union with the proposed one.
VERIFIED, SAME = 0.7, 0.4
#: Of more doubtful boxes than these in one picture the weaker ones are dropped. It bounds the time.
MOST = 32
#: Side √(w·h) of the face in its cut, pixels. Nothing is enlarged by more than the second: the library takes much
#: enlarged eyes and mouths for faces.
FACE, ENLARGED = 60, 3.0
#: Longest side of a cut, pixels, and of the cut of a second look. The library's time goes with their areas.
CUT, LARGER = 96, 128
#: The library looks a second time where its score is less than the first below the score that it must give, or less
#: than the second above it. Then the mean of both scores counts.
BELOW, ABOVE = 0.2, 0.1
#: A box is a face on its side, or upside down, where the network gives it at least this score in a turned cut, and the
#: library then sees a face in that cut. At most so many boxes of a picture are looked at in turned cuts.
TURNED, MOST_TURNED = 0.9, 8


def verified(rgb: np.ndarray, proposed: np.ndarray, least: float = VERIFIED, threads: int | None = None) -> np.ndarray:
    """(H, W, 3) uint8 and the network's (N, 5) boxes and scores → (K, 5): the sure ones, then the library's.

    A box of which the network is not sure counts where the library finds a face of score ``least`` there, or, beside
    faces that count, finds it in a turned cut. Then box and score are the library's. Any number of ``threads`` gives
    the same result."""
    sure = proposed[:, 4] >= SURE
    doubtful = proposed[~sure & worth_a_look(proposed)]
    if not len(doubtful):
        return proposed[sure]
    doubtful = doubtful[np.argsort(-doubtful[:, 4], kind="stable")][:MOST]
    faces = _seen(rgb, doubtful, _cuts(rgb, doubtful, CUT), threads)
    close = (faces[:, 4] >= least - BELOW) & (faces[:, 4] < least + ABOVE)
    larger = _cuts(rgb, doubtful[close], LARGER)
    faces[close, 4] = (faces[close, 4] + _seen(rgb, doubtful[close], larger, threads)[:, 4]) / 2
    seen = faces[:, 4] >= least
    counted = np.concatenate([proposed[sure], faces[seen]])
    refused = doubtful[~seen & (doubtful[:, 4] >= DOUBTFUL)]
    turned, looks = in_turned_cuts(rgb, refused, counted, TURNED, threads)
    turned = _seen(rgb, turned, looks, threads)
    return np.concatenate([counted, turned[turned[:, 4] >= least]])


def worth_a_look(proposed: np.ndarray) -> np.ndarray:
    """The network's (N, 5) boxes and scores → (N,) which of them are sure or are to be verified."""
    return np.asarray(proposed[:, 4] >= (DOUBTFUL if (proposed[:, 4] >= SURE).any() else PROPOSED))


def in_turned_cuts(
    rgb: np.ndarray, boxes: np.ndarray, counted: np.ndarray, least: float, threads: int | None = None
) -> tuple[np.ndarray, list[Look]]:
    """The network's (N, 5) boxes that do not count, the best first, beside others that do → (K, 5) those of them that
    it finds in a cut turned by quarters, with a score of at least ``least``, as it finds them there; for each its look.

    None where no box counts: then the whole picture is turned."""
    if not len(boxes) or not len(counted):
        return np.zeros((0, 5)), []
    boxes = boxes[(overlaps(boxes, counted) < SAME).all(1)][:MOST_TURNED]
    looks = _cuts(rgb, boxes, CUT)

    def network(picture: Image.Image) -> np.ndarray:
        """(N, 6): boxes and scores of all turns, and in which turn each is seen."""
        pixels, found = np.asarray(picture), [np.zeros((0, 6))]
        levels = pyramid.levels(pixels, threads=1)
        for turn in TURNS:
            turned = np.rot90(pixels, -turn // 90)
            seen = pyramid.find(turned, least, None, 1, pyramid.turned(levels, pixels.shape[0], pixels.shape[1], turn))
            if len(seen):  # in most cuts there is none
                seen[:, :4] = turned_back(seen[:, :4], turned.shape[1], turned.shape[0], turn)
                found.append(np.insert(seen, 5, turn, 1))
        return np.concatenate(found)

    faces, in_turn = [], []
    for box, look, seen in zip(boxes, looks, found_by_look(rgb, looks, threads, network), strict=True):
        same = seen[overlaps(seen, box[None])[:, 0] > SAME]
        if len(same):
            best = same[same[:, 4].argmax()]
            faces.append(best[:5])
            in_turn.append(replace(look, turn=int(best[5])))
    return np.array(faces).reshape(-1, 5), in_turn


def _seen(rgb: np.ndarray, boxes: np.ndarray, looks: list[Look], threads: int | None) -> np.ndarray:
    """(N, 5): for each box the best of the library's boxes that are the same face; zeros where it has none."""
    faces = np.zeros((len(boxes), 5))
    for i, others in enumerate(found_by_look(rgb, looks, threads)):
        others = others[overlaps(others, boxes[i : i + 1])[:, 0] > SAME]
        if len(others):
            faces[i] = others[others[:, 4].argmax()]
    return faces


def _cuts(rgb: np.ndarray, boxes: np.ndarray, longest: int) -> list[Look]:
    return [cut(box, rgb.shape[1], rgb.shape[0], longest) for box in boxes]


def cut(box: np.ndarray, width: int, height: int, longest: int) -> Look:
    """The look at a box (x0, y0, x1, y1, …) and what lies around it in a picture of ``width`` × ``height``."""
    scale = min(ENLARGED, FACE / float(np.sqrt((box[2] - box[0]) * (box[3] - box[1]))))
    x, y = scale * (box[0] + box[2]) / 2, scale * (box[1] + box[3]) / 2
    sides = scaled_size((width, height), scale)
    left, top = (int(np.clip(round(c - longest / 2), 0, side - 1)) for c, side in zip((x, y), sides, strict=True))
    return Look(scale, tile=(left, top, min(left + longest, sides[0]), min(top + longest, sides[1])))


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Boxes (N, 4 or more), (M, 4 or more) → (N, M) intersection over union."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    shared = np.maximum(high - low, 0).prod(2)
    area, other = ((each[:, 2:4] - each[:, :2]).prod(1) for each in (a, b))
    return np.asarray(shared / (area[:, None] + other - shared))
