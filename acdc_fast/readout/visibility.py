"""Whether a point is in sight: the maps, the shape and the head's turn say it.

A covered point has a wide map, and so have its neighbours; a point that is turned away follows from the pose. Two
linear functions of `terms` give each point's log odds of being covered and of being turned away, both beside being in
sight. `visible` joins them to one number, the chance of being in sight. `training/fits/visibility_fit.py` fits it to
people's flags on photographs, as they are and with covers drawn on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .refinement import REACH, Refinement
from .shape_model import misfit, rowwise, shape_and_size

#: Markups that people flagged.
MARKUPS = ("2d68",)
#: Degrees: the unit of yaw and pitch in the terms. Beyond `FARTHEST` units no face was fitted to.
UNIT, FARTHEST = 30.0, 3.5
#: Principal components of the shape that enter.
COMPONENTS = 20
#: Least spread in sizes of the shape: a map that is one pixel alone.
LEAST = 1e-3


@dataclass(frozen=True, eq=False)
class Visibility:
    """The two functions of one network, whose markups together have P points."""

    numbers: Mapping[str, np.ndarray]  # markup -> (T, 2L): L columns for covered, L for turned away
    scale: np.ndarray  # (3,) what turned away counts for beside covered (logarithm), then slope and offset of the odds

    def fault(self, points: Mapping[str, int]) -> str | None:
        """What is wrong with it for markups of these numbers of points, or None."""
        wanted: dict[str, tuple[np.ndarray, tuple[int, ...]]] = {"scale": (self.scale, (3,))}
        for markup, numbers in self.numbers.items():
            if markup not in points:
                return f"visibility.numbers.{markup}: the network has no such markup"
            wanted[f"numbers.{markup}"] = numbers, (terms_of(sum(points.values())), 2 * points[markup])
        return misfit("visibility", wanted)


def terms_of(points: int) -> int:
    """T: six of the pose, one for each map, the first components of the shape."""
    return 6 + points + COMPONENTS


def terms(points: np.ndarray, spread: np.ndarray, pose: np.ndarray, refinement: Refinement) -> np.ndarray:
    """(N, T) of upright faces: (N, P, 2) refined points of all markups, (N, P) spreads in the same unit, (N, 3) pose in
    degrees."""
    shape, size = shape_and_size(points)
    components = rowwise(shape - refinement.mean, refinement.basis[:COMPONENTS].T).clip(-REACH, REACH)
    wide = spread / size[:, 0]
    yaw, pitch = (np.asarray(pose, np.float64)[:, :2].T / UNIT).clip(-FARTHEST, FARTHEST)
    turned = np.column_stack([np.ones(len(yaw)), yaw, pitch, yaw * yaw, yaw * pitch, pitch * pitch])
    return np.concatenate([turned, np.log(np.maximum(wide, LEAST)), components], 1)


def visible(known: np.ndarray, visibility: Visibility, markup: str) -> np.ndarray:
    """(N, T) terms → (N, L) float32 chance that each point of a markup is in sight."""
    away, slope, offset = visibility.scale
    covered, turned = np.split(rowwise(known, visibility.numbers[markup]), 2, axis=1)
    hidden = slope * np.logaddexp(covered, turned + away) + offset
    chance: np.ndarray = (1 / (1 + np.exp(np.clip(hidden, -50, 50)))).astype(np.float32)
    return chance
