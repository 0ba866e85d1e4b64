"""Correction of the head pose: a polynomial in the shape of the 3D points.

The network's pose Ω is one dense layer on landmarks in crop units (paper eq. 8). Landmarks go with the sine of an angle
and with the size of the head, so a dense layer cannot be exact: on exact points of faces turned up to ±90° it is 3°
off. `Model.align` adds a polynomial of degree two in Ω and in the principal components of the points' shape; on exact
points it is 1.4° off. `training/fits/pose_readout.py` fits it. Weights without one give Ω as it is. The excitation
(eq. 6) reads Ω itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .shape_model import misfit, polynomial, rowwise, shapes

#: Principal components of the shape that enter, beside the three angles of Ω.
COMPONENTS = 14
INPUTS = 3 + COMPONENTS
#: Terms of the polynomial: 1, each input, each product of two.
TERMS = 1 + INPUTS + INPUTS * (INPUTS + 1) // 2
#: Inputs are clipped to this: farther out lie no faces that the polynomial was fitted to.
REACH = 3.0


@dataclass(frozen=True, eq=False)
class Readout:
    """The polynomial of one network, whose 3D markup has L points."""

    mean: np.ndarray  # (2L,) of the shapes it was fitted to
    basis: np.ndarray  # (14, 2L) principal directions, each over the standard deviation along it
    numbers: np.ndarray  # (171, 3) degrees

    def fault(self, points: int) -> str | None:
        """What is wrong with it for a markup of this many points, or None."""
        wanted = {"mean": (2 * points,), "basis": (COMPONENTS, 2 * points), "numbers": (TERMS, 3)}
        return misfit("pose", {name: (getattr(self, name), shape) for name, shape in wanted.items()})


def terms(pose: ArrayLike, points: ArrayLike, mean: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """(N, 3) degrees and (N, L, 2) 3D landmarks → (N, 171)."""
    pose = np.asarray(pose, np.float64).reshape(-1, 3)
    x = np.column_stack([pose / 45, rowwise(shapes(points) - mean, basis.T)]).clip(-REACH, REACH)
    return polynomial(x, INPUTS)


def corrected(pose: ArrayLike, points: ArrayLike, readout: Readout) -> np.ndarray:
    """(N, 3) yaw, pitch, roll in degrees, Ω of upright crops, with the polynomial added."""
    known = terms(pose, points, readout.mean, readout.basis)
    better: np.ndarray = np.asarray(pose, np.float64) + rowwise(known, readout.numbers)
    return better.astype(np.float32)
