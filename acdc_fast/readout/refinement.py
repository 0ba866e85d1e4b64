"""Refinement: each landmark is corrected by the shape of all points.

A landmark is the mean of its own attention map. Each map is computed alone, so a jaw line behind a hand is farther off
than the rest of the face allows. `Model.align` adds to each point a polynomial of degree two in the principal
components of the shape of all points, of every markup. `training/fits/refinement_fit.py` fits it. Weights without one
give the means as they are; so does `Model(crops)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .shape_model import misfit, polynomial, rowwise, shape_and_size

#: Principal components that enter at most, and the first of them that enter squared.
COMPONENTS, SQUARED = 240, 12
#: Inputs are clipped to this: farther out lie no faces that the polynomial was fitted to.
REACH = 4.0


@dataclass(frozen=True, eq=False)
class Refinement:
    """The polynomial of one network, whose markups together have P points."""

    mean: np.ndarray  # (2P,) of the shapes it was fitted to; points in the order of the config's markups
    basis: np.ndarray  # (K, 2P) principal directions, each over the standard deviation along it
    numbers: Mapping[str, np.ndarray]  # markup -> (T, 2L), T terms, in units of the shape's root mean square

    def fault(self, points: Mapping[str, int]) -> str | None:
        """What is wrong with it for markups of these numbers of points, or None."""
        width = 2 * sum(points.values())
        count = len(self.basis) if SQUARED <= len(self.basis) <= width else min(COMPONENTS, width)
        wanted = {"mean": (self.mean, (width,)), "basis": (self.basis, (count, width))}
        for markup, numbers in self.numbers.items():
            if markup not in points:
                return f"refinement.numbers.{markup}: the network has no such markup"
            wanted[f"numbers.{markup}"] = numbers, (terms_of(count), 2 * points[markup])
        return misfit("refinement", wanted)


def terms_of(components: int) -> int:
    """T: 1, each component, each product of two of the first twelve."""
    return 1 + components + SQUARED * (SQUARED + 1) // 2


def terms(shapes: np.ndarray, mean: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """(N, 2P) shapes of all markups' landmarks → (N, T), in the precision of the basis."""
    return polynomial(rowwise((shapes - mean).astype(basis.dtype), basis.T).clip(-REACH, REACH), SQUARED)


def refined(landmarks: Mapping[str, np.ndarray], refinement: Refinement, order: Sequence[str]) -> dict[str, np.ndarray]:
    """Markup → (N, L, 2) landmarks of upright faces in any one unit, all markups of the config's ``order`` → the same
    with the polynomial added where there is one."""
    shapes, size = shape_and_size(np.concatenate([landmarks[markup] for markup in order], 1))
    known = terms(shapes, refinement.mean, refinement.basis)
    better = {m: np.asarray(landmarks[m]) for m in landmarks}
    for markup, numbers in refinement.numbers.items():
        added = rowwise(known, numbers).reshape(better[markup].shape) * size
        better[markup] = (better[markup] + added).astype(np.float32)
    return better
