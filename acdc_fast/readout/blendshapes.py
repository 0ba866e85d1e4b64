"""Blendshapes: how strongly a face shows the expressions that phones give numbers for, read from its points.

Names are those of ARKit; left and right are the person's own. 0 is a face at rest, 1 the full expression. The points
are turned upright and brought to one size; a polynomial in the components of their shape and in the way the face looks
gives each number. `training/fits/blendshapes_fit.py` fits it to rendered people, whose expressions are known, and keeps
the names that it tells clearly better than a constant does: see docs/guides/blendshapes.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from .shape_model import polynomial, rowwise, shape_and_size

FILE = Path(__file__).with_name("blendshapes.safetensors")
#: Markups whose points are read, in this order.
MARKUPS = ("2d98", "3d68")
#: Inputs that enter squared: two of the way the face looks, then the first components.
SQUARED = 14
#: Components are clipped to this many deviations: farther out lie no faces that the polynomial was fitted to.
REACH = 4.0

#: All 52 names, in alphabetical order; `told` are those that are read out.
NAMES = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip


def mirrored(name: str) -> str:
    """The name of the same expression in the mirror image."""
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


@dataclass(frozen=True, eq=False)
class Readout:
    """The polynomial. P points, K components, T terms, M names."""

    names: tuple[str, ...]
    mean: np.ndarray  # (2P,) of upright shapes
    basis: np.ndarray  # (K, 2P) principal directions, each over the deviation along it
    numbers: np.ndarray  # (T, M)


@cache
def packaged() -> Readout:
    """The read-out inside the package."""
    from safetensors import safe_open

    with safe_open(FILE, "numpy") as file:
        names = tuple(file.metadata()["names"].split())
        return Readout(names, *(file.get_tensor(n).astype(np.float64) for n in ("mean", "basis", "numbers")))


def told() -> tuple[str, ...]:
    """The names that `blendshapes` gives, in the order of `NAMES`."""
    return packaged().names


def upright(points: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, P, 2) points of pictures, y down, in any one unit, and (N, 3, 3) `HeadPose.matrix` → (N, 2P) shapes turned so
    that the head's up is the picture's, of unit size, y up; (N, 2) how far the face then looks to the right and up."""
    up, ahead = matrix[:, 1], matrix[:, 2]
    long = np.hypot(up[:, 0], up[:, 1]) + 1e-9
    cos, sin = up[:, 1] / long, up[:, 0] / long
    turn = np.stack([cos, -sin, sin, cos], 1).reshape(-1, 2, 2)
    shape, _ = shape_and_size((points * [1.0, -1.0]) @ turn.transpose(0, 2, 1))
    return shape, np.einsum("nij,nj->ni", turn, ahead[:, :2])


def terms(points: np.ndarray, matrix: np.ndarray, mean: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """(N, T) of points and poses as `upright` takes them."""
    shape, way = upright(points, matrix)
    return polynomial(np.concatenate([way, rowwise(shape - mean, basis.T).clip(-REACH, REACH)], 1), SQUARED)


def blendshapes(landmarks: Mapping[str, np.ndarray], matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Name → (N,) float32 in [0, 1]. ``landmarks``: markup → (N, L, 2) points of `MARKUPS` in any one unit, y down;
    ``matrix``: (N, 3, 3) as in `HeadPose`."""
    readout = packaged()
    points = np.concatenate([np.asarray(landmarks[markup], np.float64) for markup in MARKUPS], 1)
    known = terms(points, np.asarray(matrix, np.float64), readout.mean, readout.basis)
    values = rowwise(known, readout.numbers).clip(0, 1).astype(np.float32)
    return {name: np.ascontiguousarray(value) for name, value in zip(readout.names, values.T, strict=True)}
