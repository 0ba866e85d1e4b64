"""What the package hands out: frozen, with units and signs stated. Imports nothing of ours.

Crop units: pixel (row y, column x) of a W×H crop has its centre at ((x + ½)/W, (y + ½)/H), so coordinates lie in
(0, 1) whatever the resolution. Image pixels: pixel centres at integer coordinates, x to the right, y down.
Pose: degrees, R = R_z(roll)·R_y(yaw)·R_x(pitch), the convention of 300W-LP and AFLW2000-3D.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Array = Any  # numpy array or torch tensor: what came in goes out


class Moments(NamedTuple):
    """Moments of attention maps (eq. 2 and 3)."""

    mean: Array  # (B, L, 2) x, y in crop units
    covariance: Array  # (B, L, 3) xx, xy, yy in crop units squared
    peak: Array  # (B, L) largest value of the map


@dataclass(frozen=True)
class Prediction:
    """What the network says of a batch of B crops, after its last stage."""

    landmarks: dict[str, Array]  # markup -> (B, L, 2) crop units
    covariance: dict[str, Array]  # markup -> (B, L, 3) xx, xy, yy, crop units squared
    pose: Array | None  # (B, 3) yaw, pitch, roll in degrees; None for variant "ac"
    mask: Array | None  # (B, 1, H, W) Φ of eq. 4
    stages: tuple[Prediction, ...] | None = None  # one per stage, last one last; only where all_stages=True
    depth: Array | None = None  # (B,) int, stages that each crop ran; only where it may end early


@dataclass(frozen=True)
class HeadPose:
    """Head pose of N faces: angles in degrees, (N,) float32 each.

    Signs, for the person in the picture: yaw > 0 turns the face to the image's left, pitch > 0 lifts the chin, roll > 0
    tilts the head clockwise as seen in the image.
    """

    yaw: np.ndarray
    pitch: np.ndarray
    roll: np.ndarray
    matrix: np.ndarray  # (N, 3, 3) rotation


@dataclass(frozen=True)
class Faces:
    """N aligned faces of one image. N = 0 gives empty arrays of these shapes."""

    boxes: np.ndarray  # (N, 4) float32 xyxy, image pixels
    scores: np.ndarray  # (N,) float32 detector confidence; 1 for boxes that the caller gave
    landmarks: dict[str, np.ndarray]  # markup -> (N, L, 2) float32, image pixels
    spread: dict[str, np.ndarray]  # markup -> (N, L) float32, pixels: root of the map's second moment
    confidence: dict[str, np.ndarray]  # markup -> (N, L) float32 in [0, 1], 1 = certain
    pose: HeadPose | None  # None where the weights have no pose head
    source: str | None = field(default=None, compare=False)  # path of the image, where one was given

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int | slice) -> Faces:
        """One face (or a slice) as Faces of its own."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"face {index} asked for, but there are {len(self)}")
            index = slice(index, index + 1 or None)
        pose = self.pose and HeadPose(
            self.pose.yaw[index], self.pose.pitch[index], self.pose.roll[index], self.pose.matrix[index]
        )
        return Faces(
            self.boxes[index],
            self.scores[index],
            {name: points[index] for name, points in self.landmarks.items()},
            {name: values[index] for name, values in self.spread.items()},
            {name: values[index] for name, values in self.confidence.items()},
            pose,
            self.source,
        )

    def __iter__(self) -> Iterator[Faces]:
        return (self[i] for i in range(len(self)))
