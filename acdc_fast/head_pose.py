"""Head pose beyond a dense layer: what the 3D stream's landmarks say of it that is not linear in them.

The network's Ω is one dense layer on landmarks in crop units (paper eq. 8), and these go with the sine of an angle and
with the size of the head: even exact points leave a dense layer 3° off on faces turned up to ±90°. `Model.align`
therefore adds a polynomial of the second degree in Ω and two numbers of the points' shape. `training/pose_readout.py`
fits it; weights without one give Ω as it is. The excitation (eq. 6) reads Ω itself.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import ArrayLike

#: Inputs of the polynomial and its terms: 1, each input, each product of two.
INPUTS = 5
TERMS = 1 + INPUTS + INPUTS * (INPUTS + 1) // 2
#: Inputs beyond this count as this: nothing is known of faces outside of what the polynomial was fitted to.
REACH = 2.5


def terms(pose: ArrayLike, points: ArrayLike) -> np.ndarray:
    """(N, 3) degrees and (N, L, 2) 3D landmarks in any one unit → (N, 21)."""
    pose, points = np.asarray(pose, np.float64).reshape(-1, 3), np.asarray(points, np.float64)
    centred = points - points.mean(1, keepdims=True)
    width, height = np.moveaxis(np.sqrt((centred**2).mean(1)) + 1e-9, -1, 0)
    lean = (centred[..., 0] * centred[..., 1]).mean(1) / (width * height)
    x = np.column_stack([pose / 45, np.log(width / height), lean]).clip(-REACH, REACH)
    pairs = [x[:, i] * x[:, j] for i, j in combinations_with_replacement(range(INPUTS), 2)]
    return np.column_stack([np.ones(len(x)), x, *pairs])


def corrected(pose: ArrayLike, points: ArrayLike, numbers: ArrayLike) -> np.ndarray:
    """(N, 3) yaw, pitch, roll in degrees, Ω of upright crops, with the polynomial of ``numbers`` (21, 3) added."""
    better: np.ndarray = np.asarray(pose, np.float64) + terms(pose, points) @ np.asarray(numbers, np.float64)
    return better.astype(np.float32)
