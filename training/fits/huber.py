"""Linear regression with Huber's loss: wrong labels, which are far from the others, hardly move the fit.

The polynomials of `acdc_fast.readout.head_pose` and `acdc_fast.readout.refinement` are fitted this way.
"""

from __future__ import annotations

import numpy as np


def fit_huber(
    inputs: np.ndarray, outputs: np.ndarray, weights: np.ndarray, ridge: float | np.ndarray, small: float, steps: int
) -> np.ndarray:
    """(N, T) inputs, (N, P, C) outputs, (N,) weights → (T, P, C) coefficients, by iteratively reweighted least squares.

    The error of a row is the root mean square of its P distances. It counts squared below ``small`` and linearly above.
    ``ridge``: weight of the squared coefficients, one number or (T,). A row of small error and weight 1 weighs 1.
    """
    row_weights = weights
    flat = outputs.reshape(len(outputs), -1)
    for _ in range(steps):
        weighted = (inputs * row_weights[:, None]).T
        found = np.linalg.solve(weighted @ inputs + ridge * np.eye(inputs.shape[1]), weighted @ flat)
        error = (inputs @ found - flat).reshape(outputs.shape)
        row_weights = weights * small / np.maximum(np.sqrt((error**2).sum(-1).mean(1)), small)
    return np.asarray(found.reshape(-1, *outputs.shape[1:]))
