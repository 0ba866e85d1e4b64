"""Predictions changed and joined."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..types import Prediction


def mapped(prediction: Prediction, change: Callable[[Any], Any]) -> Prediction:
    """The prediction with every array changed alike."""
    return Prediction(
        {name: change(array) for name, array in prediction.landmarks.items()},
        {name: change(array) for name, array in prediction.covariance.items()},
        None if prediction.pose is None else change(prediction.pose),
        None if prediction.mask is None else change(prediction.mask),
        None if prediction.stages is None else tuple(mapped(stage, change) for stage in prediction.stages),
        None if prediction.depth is None else change(prediction.depth),
    )


def only(prediction: Prediction, markups: tuple[str, ...]) -> Prediction:
    """The prediction with these markups alone, in its own order."""
    return Prediction(
        {name: points for name, points in prediction.landmarks.items() if name in markups},
        {name: moments for name, moments in prediction.covariance.items() if name in markups},
        prediction.pose,
        prediction.mask,
        None if prediction.stages is None else tuple(only(stage, markups) for stage in prediction.stages),
        prediction.depth,
    )


def joined(parts: Sequence[Prediction]) -> Prediction:
    """Parts of one batch as one."""
    first = parts[0]
    if len(parts) == 1:
        return first

    def each(arrays: list[Any]) -> Any:
        if isinstance(arrays[0], np.ndarray):
            return np.concatenate(arrays)
        return sys.modules["torch"].cat(arrays)  # they are tensors, so torch is there

    return Prediction(
        {name: each([p.landmarks[name] for p in parts]) for name in first.landmarks},
        {name: each([p.covariance[name] for p in parts]) for name in first.covariance},
        None if first.pose is None else each([p.pose for p in parts]),
        None if first.mask is None else each([p.mask for p in parts]),
        None if first.stages is None else tuple(map(joined, zip(*(p.stages or () for p in parts), strict=True))),
        None if first.depth is None else each([p.depth for p in parts]),
    )


def finite(prediction: Prediction) -> np.ndarray:
    """(B,) whether all landmarks, covariances and the pose of a crop are finite."""
    arrays = [*prediction.landmarks.values(), *prediction.covariance.values()]
    arrays += [] if prediction.pose is None else [prediction.pose]
    if isinstance(arrays[0], np.ndarray):
        whole = np.concatenate([a.reshape(len(a), math.prod(a.shape[1:])) for a in arrays], 1)
        return np.asarray(np.isfinite(whole).all(1))
    torch = sys.modules["torch"]
    return np.asarray(torch.isfinite(torch.cat([a.flatten(1) for a in arrays], 1)).all(1).cpu())
