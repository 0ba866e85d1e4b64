"""Linear fits of least error rather than least square, so that wild labels do not draw them: what the polynomials of
`acdc_fast.readout.head_pose` and `acdc_fast.readout.refinement` are fitted by."""

from __future__ import annotations

import numpy as np


def fit_least_error(
    inputs: np.ndarray, outputs: np.ndarray, weights: np.ndarray, ridge: float | np.ndarray, small: float, steps: int
) -> np.ndarray:
    """(N, T) inputs, (N, P, C) outputs, (N,) weights → (T, P, C) coefficients, by iteratively reweighted least squares.

    A row's error is the root mean square over P of the distances; below ``small`` it counts as a square, beyond it as
    it is. ``ridge`` is the weight of the coefficients' squares beside that of one row of small error and weight 1:
    one number, or (T,), one for each.
    """
    share = weights
    flat = outputs.reshape(len(outputs), -1)
    for _ in range(steps):
        weighted = (inputs * share[:, None]).T
        found = np.linalg.solve(weighted @ inputs + ridge * np.eye(inputs.shape[1]), weighted @ flat)
        gap = (inputs @ found - flat).reshape(outputs.shape)
        share = weights * small / np.maximum(np.sqrt((gap**2).sum(-1).mean(1)), small)
    return np.asarray(found.reshape(-1, *outputs.shape[1:]))
