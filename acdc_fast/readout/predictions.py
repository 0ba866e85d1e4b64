"""Predictions changed, chosen from and joined."""

from __future__ import annotations

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
    """The prediction with these markups alone."""
    return Prediction(
        {name: prediction.landmarks[name] for name in markups},
        {name: prediction.covariance[name] for name in markups},
        prediction.pose,
        prediction.mask,
        None if prediction.stages is None else tuple(only(stage, markups) for stage in prediction.stages),
        prediction.depth,
    )


def joined(parts: Sequence[Prediction]) -> Prediction:
    """Parts of one batch, of numpy arrays, as one: without masks, stages and depth, which nobody asks of it."""
    first = parts[0]
    if len(parts) == 1:
        return Prediction(first.landmarks, first.covariance, first.pose, None)
    return Prediction(
        {name: np.concatenate([p.landmarks[name] for p in parts]) for name in first.landmarks},
        {name: np.concatenate([p.covariance[name] for p in parts]) for name in first.covariance},
        None if first.pose is None else np.concatenate([np.asarray(p.pose) for p in parts]),
        None,
    )
