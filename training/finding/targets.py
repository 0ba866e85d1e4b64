"""What each cell of the detector learns: a face, no face, or nothing (left out of the loss)."""

from __future__ import annotations

import numpy as np

from acdc_fast.detector.plan import LEVELS

#: Each level learns faces with sides √(w·h) in this range, pixels. Where two ranges overlap, both levels learn them.
RANGES = ((0.0, 30.0), (22.0, 66.0), (48.0, np.inf))
#: Faces up to this factor outside a level's range are left out of its loss.
MARGIN = 1.5


def targets(boxes: np.ndarray, counts: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4), which count (N,) → labels (cells,): 1 face, 0 no face, −1 left out; and boxes (cells, 4).

    Cells of all levels, the finest first, row by row. Cells near the centre of a face learn it. Where faces overlap,
    the smaller one wins.
    """
    labels, wanted = [], []
    order = np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(1))
    for (_, stride), (low, high) in zip(LEVELS, RANGES, strict=True):
        cells = -(-side // stride)
        label, target = np.zeros((cells, cells), np.int8), np.zeros((cells, cells, 4), np.float32)
        axis = np.arange(cells) * stride
        for index in order:
            x0, y0, x1, y1 = boxes[index]
            size = np.sqrt((x1 - x0) * (y1 - y0))
            if not low / MARGIN <= size <= high * MARGIN:
                continue
            dx, dy = abs(axis - (x0 + x1) / 2), abs(axis - (y0 + y1) / 2)
            inside = (dy < 0.4 * (y1 - y0))[:, None] & (dx < 0.4 * (x1 - x0))
            label[inside & (label == 0)] = -1
            if not counts[index]:
                label[inside] = -1
                continue
            if low <= size <= high:
                reach = min(max(0.25 * size, 0.6 * stride), 1.5 * stride)
                near = (dy <= max(reach, dy.min()))[:, None] & (dx <= max(reach, dx.min()))
                label[near], target[near] = 1, boxes[index]
        labels.append(label.ravel())
        wanted.append(target.reshape(-1, 4))
    return np.concatenate(labels), np.concatenate(wanted)
