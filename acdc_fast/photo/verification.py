"""Our own network proposes faces, the library verifies those of which the network is not sure.

Each of these is cut out with what lies around it and scaled so that the face has the size at which the library sees
well. So the library looks at small pictures alone, and small faces are verified enlarged.
"""

from __future__ import annotations

import numpy as np

from .looks import Look, found_by_look, scaled_size

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


def verified(rgb: np.ndarray, proposed: np.ndarray, least: float = VERIFIED, threads: int | None = None) -> np.ndarray:
    """(H, W, 3) uint8 and the network's (N, 5) boxes and scores → (K, 5): the sure ones, then the library's.

    A box of which the network is not sure counts where the library finds a face of score ``least`` there. Then box and
    score are the library's. Any number of ``threads`` gives the same result."""
    sure = proposed[:, 4] >= SURE
    doubtful = proposed[~sure & worth_a_look(proposed)]
    doubtful = doubtful[np.argsort(-doubtful[:, 4], kind="stable")][:MOST]
    faces = _seen(rgb, doubtful, CUT, threads)
    close = (faces[:, 4] >= least - BELOW) & (faces[:, 4] < least + ABOVE)
    faces[close, 4] = (faces[close, 4] + _seen(rgb, doubtful[close], LARGER, threads)[:, 4]) / 2
    return np.concatenate([proposed[sure], faces[faces[:, 4] >= least]])


def worth_a_look(proposed: np.ndarray) -> np.ndarray:
    """The network's (N, 5) boxes and scores → (N,) which of them are sure or are to be verified."""
    return np.asarray(proposed[:, 4] >= (DOUBTFUL if (proposed[:, 4] >= SURE).any() else PROPOSED))


def _seen(rgb: np.ndarray, boxes: np.ndarray, longest: int, threads: int | None) -> np.ndarray:
    """(N, 5): for each box the best of the library's boxes that are the same face; zeros where it has none."""
    faces = np.zeros((len(boxes), 5))
    looks = [cut(box, rgb.shape[1], rgb.shape[0], longest) for box in boxes]
    for i, others in enumerate(found_by_look(rgb, looks, threads)):
        others = others[overlaps(others, boxes[i : i + 1])[:, 0] > SAME]
        if len(others):
            faces[i] = others[others[:, 4].argmax()]
    return faces


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
