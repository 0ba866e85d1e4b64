"""What the maps of crops say, of all markups' points side by side: one array serves the whole read-out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..types import Prediction
from .confidence import narrowest, spread_of
from .predictions import finite


@dataclass(frozen=True, eq=False)
class Reading:
    """Of N crops, in crop units. P points: those of all markups, in the order of the config's maps."""

    points: np.ndarray  # (N, P, 2)
    spread: np.ndarray  # (N, P)
    narrowest: np.ndarray  # (N,) as `confidence.narrowest` has it
    pose: np.ndarray | None  # (N, 3) yaw, pitch, roll in degrees
    finite: np.ndarray  # (N,) whether all numbers of the crop are
    slices: Mapping[str, slice]  # markup -> its points

    def __len__(self) -> int:
        return len(self.points)

    def of(self, markup: str) -> np.ndarray:
        """(N, L, 2) points of one markup."""
        return self.points[:, self.slices[markup]]

    def part(self, crops: np.ndarray | slice) -> Reading:
        """Of these crops alone."""
        pose = None if self.pose is None else self.pose[crops]
        return Reading(
            self.points[crops], self.spread[crops], self.narrowest[crops], pose, self.finite[crops], self.slices
        )

    def replaced(self, to: np.ndarray, other: Reading, source: np.ndarray) -> Reading:
        """The same with crops ``to`` taken from ``source`` of another."""

        def one(old: np.ndarray, new: np.ndarray) -> np.ndarray:
            out = np.array(old)
            out[to] = new[source]
            return out

        return Reading(
            one(self.points, other.points),
            one(self.spread, other.spread),
            one(self.narrowest, other.narrowest),
            None if self.pose is None or other.pose is None else one(self.pose, other.pose),
            one(self.finite, other.finite),
            self.slices,
        )


def reading_of(prediction: Prediction, slices: Mapping[str, slice]) -> Reading:
    """``slices``: of the config's maps."""
    points = np.concatenate([prediction.landmarks[markup] for markup in slices], 1)
    spread = spread_of(np.concatenate([prediction.covariance[markup] for markup in slices], 1))
    narrow = narrowest(spread[:, part] for part in slices.values())
    pose = None if prediction.pose is None else np.asarray(prediction.pose)
    return Reading(points, spread, narrow, pose, finite(prediction), slices)
