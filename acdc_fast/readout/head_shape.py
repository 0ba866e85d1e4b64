"""The head in three dimensions: a shape of mean and components, fitted to the 3D markup's points of a known pose.

The shape's 68 points were read from heads drawn from ICT-FaceKit (`training/synthesis/head_shape.py`). Head units: the
outer eye corners of the mean head are 1 apart; their middle is the origin; axes are those of the pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("head_shape.safetensors")
#: Deviation of a point from the shape, head units; residuals beyond `HUBER` of it count linearly.
NOISE, HUBER = 0.04, 1.5
STEPS = 5
MARKUP = "3d68"


@dataclass(frozen=True)
class Heads:
    """N fitted heads, in the frame in which they were seen: x right, y up, z towards the viewer; head units."""

    points: np.ndarray  # (N, 68, 3)
    position: np.ndarray  # (N, 3) of the origin between the outer eye corners


@cache
def _shape() -> tuple[np.ndarray, np.ndarray]:
    from safetensors.numpy import load_file

    arrays = load_file(FILE)
    return arrays["mean"].astype(np.float64), arrays["components"].astype(np.float64)


def mean_points() -> np.ndarray:
    """(68, 3) of the mean head, head units."""
    return _shape()[0]


def fit(seen: np.ndarray, rotation: np.ndarray, certainty: np.ndarray) -> Heads:
    """`_fit`, each face alone: so its numbers do not depend, in their last digits, on the others."""
    heads = [_fit(*(value[i : i + 1] for value in (seen, rotation, certainty))) for i in range(len(seen))]
    return Heads(
        np.concatenate([np.zeros((0, 68, 3)), *(h.points for h in heads)]),
        np.concatenate([np.zeros((0, 3)), *(h.position for h in heads)]),
    )


def _fit(seen: np.ndarray, rotation: np.ndarray, certainty: np.ndarray) -> Heads:
    """(N, 68, 2) points as `photo.camera.Views.seen` gives them, (N, 3, 3) pose in the same frame, (N, 68) how much
    each point counts → heads.

    Distance, place and components are found by least squares with Huber's weights, and with a prior on the components.
    In perspective a point at x, y, z before the head's origin is seen at (s·x + t_x, s·y + t_y) / (1 − s·z), with
    s = 1 / distance: linear in s, t and s · components once z is known, so a few steps do.
    """
    mean, components = _shape()
    count = len(seen)
    turned = np.concatenate([mean[None], components]).reshape(-1, 3)
    turned = (turned @ rotation).reshape(count, len(components) + 1, 68, 3)  # X_seen = Rᵀ · X_head
    slope = np.zeros((count, 68, 2, len(components) + 3))
    slope[..., 0] = turned[:, 0, :, :2]
    slope[..., 0, 1] = slope[..., 1, 2] = 1
    slope[..., 3:] = turned[:, 1:, :, :2].transpose(0, 2, 3, 1)
    prior = np.diag([0.0] * 3 + [NOISE**2] * len(components)) + 1e-12 * np.eye(len(components) + 3)
    nearer = np.zeros((count, 68, 1))
    huber = np.ones((count, 68))
    for _ in range(STEPS):
        wanted = seen * (1 - nearer)
        weighted = slope * (huber * np.maximum(certainty, 1e-3))[..., None, None]
        normal = np.einsum("nlik,nlij->nkj", weighted, slope) + prior
        found = np.linalg.solve(normal, np.einsum("nlik,nli->nk", weighted, wanted)[..., None])[..., 0]
        scale = np.maximum(found[:, :1], 1e-6)
        left = np.linalg.norm(wanted - np.einsum("nlik,nk->nli", slope, found), axis=2) / scale
        huber = np.minimum(1, HUBER * NOISE / np.maximum(left, 1e-9))
        parts = np.concatenate([np.ones((count, 1)), (found[:, 3:] / scale).clip(-4, 4)], 1)
        shape = np.einsum("nk,nkld->nld", parts, turned)
        nearer = np.clip(scale[..., None] * shape[..., 2:], -0.9, 0.9)
    position = np.concatenate([found[:, 1:3], -np.ones((count, 1))], 1) / scale
    return Heads(shape + position[:, None], position)
