"""Where one shot of a film ends and another begins: coarse pictures of two frames that neither agree nor correlate."""

from __future__ import annotations

from collections import deque

import numpy as np

#: Blocks of the coarse picture: columns, rows; and samples along each side of a block.
BLOCKS, SAMPLES = (16, 9), 4
#: A cut changes the coarse picture by this much on average (of 1) …
CHANGE = 0.05
#: … leaves a correlation below this …
CORRELATION = 0.6
#: … and changes this many times as much as is usual for the last frames, so that a fast camera is no row of cuts.
SUDDEN, LAST = 3.0, 8


class CutFinder:
    """Looks at the frames of one film in order."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None
        self._changes: deque[float] = deque(maxlen=LAST)

    def step(self, rgb: np.ndarray) -> bool:
        """Whether (H, W, 3) uint8 is the first frame of a new shot. The first of all is not."""
        coarse, before = _coarse(rgb), self._before
        self._before = coarse
        if before is None:
            return False
        change = float(np.abs(coarse - before).mean())
        usual = float(np.median(self._changes)) if self._changes else 0.0
        cut = change > max(CHANGE, SUDDEN * usual) and _correlation(coarse, before) < CORRELATION
        if cut:
            self._changes.clear()
        else:
            self._changes.append(change)
        return cut


def _coarse(rgb: np.ndarray) -> np.ndarray:
    """(9, 16, 3) means of samples, in [0, 1]."""
    rows, columns = (
        ((np.arange(n * SAMPLES) + 0.5) * side / (n * SAMPLES)).astype(np.int64)
        for n, side in zip(BLOCKS[::-1], rgb.shape[:2], strict=True)
    )
    samples = rgb[rows[:, None], columns].astype(np.float32) / 255
    return np.asarray(samples.reshape(BLOCKS[1], SAMPLES, BLOCKS[0], SAMPLES, 3).mean((1, 3)))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of the blocks' brightness; 0 where one of the two is flat."""
    x, y = (v.mean(2).ravel() - v.mean() for v in (a, b))
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / scale if scale > 1e-3 else 0.0
