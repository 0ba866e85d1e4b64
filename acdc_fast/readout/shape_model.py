"""Functions for the shape model: principal components of a face's landmarks without place and size, and polynomials in
them. The numbers of a model are in the weights file; `head_pose` and `refinement` read them and share these functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

#: Largest number that a fitted polynomial may hold: fits give 30 at most. Directions are divided by the deviation along
#: them, which counts as 3e-5 where it is smaller: so they may be larger.
LARGEST, LONGEST_DIRECTION = 1e3, 1e5


def misfit(kind: str, wanted: Mapping[str, tuple[np.ndarray, tuple[int, ...]]]) -> str | None:
    """What is wrong with the first of these arrays that has not the shape beside it, or holds NaN, infinity or numbers
    that no fit gives."""
    for name, (value, shape) in wanted.items():
        if value.shape != shape:
            return f"{kind}.{name} has shape {value.shape}, finite numbers of shape {shape} are needed"
        limit = LONGEST_DIRECTION if name == "basis" else LARGEST
        if not (np.abs(value) <= limit).all():  # NaN is not <= either
            return f"{kind}.{name} holds numbers that are not finite or beyond {limit:g}"
    return None


def place_and_size(points: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(N, L, 2) landmarks in any one unit → (N, 1, 2) their mean and (N, 1, 1) root mean square about it, same unit."""
    points = np.asarray(points, np.float64)
    count = points.shape[1]
    centre = points.sum(1, keepdims=True) / count  # for few faces half of the time of numpy's mean
    return centre, np.sqrt(((points - centre) ** 2).sum((1, 2), keepdims=True) / (2 * count)) + 1e-9


def shape_and_size(points: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(N, L, 2) landmarks in any one unit → (N, 2L), centred and of unit root mean square, and (N, 1, 1) the latter."""
    points = np.asarray(points, np.float64)
    centre, size = place_and_size(points)
    return ((points - centre) / size).reshape(len(points), 2 * points.shape[1]), size


def shapes(points: ArrayLike) -> np.ndarray:
    """(N, L, 2) landmarks in any one unit → (N, 2L), which tell neither size nor place."""
    return shape_and_size(points)[0]


def principal_components(shape: np.ndarray, count: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2L) shapes, (N,) weights → (2L,) mean and (count, 2L) directions, each over the deviation along it."""
    mean = np.average(shape, 0, weights)
    moments = (weights[:, None] * (shape - mean)).T @ (shape - mean) / weights.sum()
    variance, directions = (v[..., ::-1] for v in np.linalg.eigh(moments))
    return mean, directions[:, :count].T / np.sqrt(np.maximum(variance[:count, None], 1e-9))


def rowwise(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(N, K) @ (K, M), one row at a time. A BLAS may sum in another order if there are more rows. So the last bits of a
    face's result would depend on how many faces are computed with it."""
    product: np.ndarray = np.empty((len(rows), matrix.shape[1]), np.result_type(rows, matrix))
    matrix = matrix.astype(product.dtype, copy=False)  # once, not for each row
    for row, out in zip(rows, product, strict=True):
        np.matmul(row, matrix, out=out)
    return product


def polynomial(inputs: np.ndarray, squared: int) -> np.ndarray:
    """(N, K) → (N, 1 + K + squared·(squared + 1)/2): 1, each input, each product of two of the first ``squared``."""
    first, second = _pairs(squared)
    return np.concatenate([np.ones((len(inputs), 1), inputs.dtype), inputs, inputs[:, first] * inputs[:, second]], 1)


@lru_cache
def _pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(count)
