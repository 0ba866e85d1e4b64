"""One annotated face. Pixels: centres at integer coordinates, x to the right, y down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from acdc_fast.markups import MARKUPS, five_points


@dataclass(frozen=True, eq=False, kw_only=True)
class Annotation:
    """The labels of one face, without its picture."""

    source: str  # name of the database
    name: str  # of the face, unique in its database
    landmarks: Mapping[str, np.ndarray]  # markup -> (L, 2) float32 pixels
    pose: np.ndarray | None = None  # (3,) float32 yaw, pitch, roll in degrees
    box: np.ndarray | None = None  # (4,) float32 xyxy pixels, a detector's; None: computed from the points
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)  # markup -> (L,) float32; absent: all ones
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finest(self) -> np.ndarray:
        """(L, 2) pixels: the finest markup with eyes, nose and mouth of which every point is known."""
        return self.landmarks[self._finest]

    @property
    def five(self) -> np.ndarray:
        """(5, 2) pixels: eyes, nose tip and mouth corners by the same."""
        return np.asarray(five_points(self.finest, self._finest))

    @property
    def _finest(self) -> str:
        whole = [m for m, p in self.landmarks.items() if MARKUPS[m].five is not None and np.isfinite(p).all()]
        return max(whole, key=lambda m: len(self.landmarks[m]))

    @property
    def middle(self) -> np.ndarray:
        """(2,) pixels: of the box round the finest markup's points, or round all that are known."""
        try:
            points = self.finest
        except ValueError:  # none has eyes, nose and mouth
            points = np.concatenate(list(self.landmarks.values()))
        return np.asarray((np.nanmin(points, 0) + np.nanmax(points, 0)) / 2)


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample(Annotation):
    """A face and its picture."""

    image: np.ndarray  # (H, W) uint8, grey
