"""Labels of a batch, in the form that the losses take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Targets:
    """Labels of a batch of B faces."""

    landmarks: Mapping[str, Tensor]  # markup -> (B, L, 2) crop units; only the markups that the database has
    weights: Mapping[str, Tensor]  # markup -> (B, L), 0 for unknown points; a markup that is absent has all ones
    pose: Tensor | None = None  # (B, 3) yaw, pitch, roll in degrees; a row with NaN is unknown
    wide: Tensor | None = None  # (B,) 1 for crops without an upright face (`Crop.wide`), else 0; None: all 0

    def map(self, change: Callable[[Tensor], Tensor]) -> Targets:
        """The same labels with ``change`` applied to each tensor."""
        landmarks, weights = ({m: change(v) for m, v in part.items()} for part in (self.landmarks, self.weights))
        pose, wide = (None if labels is None else change(labels) for labels in (self.pose, self.wide))
        return Targets(landmarks, weights, pose, wide)
