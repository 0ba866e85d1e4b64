"""The mean of what the network says of a crop and of its mirror image: less error for twice the time.

The two errors are partly independent. `docs/notes/accuracy.md` has what the mean gains.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..markups import MARKUPS, mirrored_points
from ..types import Prediction

#: The mirror image has yaw, pitch and roll times these factors: yaw and roll change their sign.
POSE_SIGNS = np.array([-1, 1, -1])
#: The same for a map's xx, xy and yy.
MOMENT_SIGNS = np.array([1, -1, 1], np.float32)


def mirrored(prediction: Prediction) -> Prediction:
    """What mirrored crops say → what that means for the crops: points, covariance and pose; nothing else is kept."""
    return Prediction(
        {name: mirrored_points(points, name) for name, points in prediction.landmarks.items()},
        {name: (moments * MOMENT_SIGNS)[:, MARKUPS[name].mirror] for name, moments in prediction.covariance.items()},
        None if prediction.pose is None else (prediction.pose * POSE_SIGNS).astype(prediction.pose.dtype),
        None,
    )


def mean(one: Prediction, other: Prediction) -> Prediction:
    """The mean of two predictions for the same crops. Angles that lie on both sides of ±180° have their mean there."""
    pose = one.pose
    if pose is not None and other.pose is not None:
        between = (other.pose - pose + 180) % 360 - 180
        pose = (pose + between / 2 + 180) % 360 - 180
    return replace(
        one,
        landmarks={name: (points + other.landmarks[name]) / 2 for name, points in one.landmarks.items()},
        covariance={name: (moments + other.covariance[name]) / 2 for name, moments in one.covariance.items()},
        pose=pose,
    )
