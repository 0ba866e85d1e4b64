"""A made-up head in the genuine file format: a smooth surface with a nose, two eyeballs, three identities, a smile."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from acdc_fast.training.synthesis.markup import BROW_LOWER, BROW_UPPER, surface_points
from acdc_fast.training.synthesis.mesh import FaceModel, build

SIDE = 97  # vertices along each axis of the layout: 97² = 9409, as many as the face has in the file
COUNT = 24591


def surface(uv: np.ndarray) -> np.ndarray:
    """The neutral face at layout positions (n, 2), v downwards: (n, 3) cm. Eyes and mouth lie where a head has them."""
    u, v = np.asarray(uv, np.float64).T
    angle = (u - 0.5) * 3.6
    y = 3.4 - (v - 0.2856) * 24.8
    narrow = 1 - 0.35 * np.clip((-3 - y) / 6, 0, 1) ** 2
    nose = 2.6 * np.exp(-(((u - 0.5) / 0.05) ** 2) - ((v - 0.41) / 0.06) ** 2)
    return np.stack([7.6 * narrow * np.sin(angle), y, 2.0 + (8.0 * narrow) * np.cos(angle) + nose], 1)


@lru_cache(maxsize=1)
def arrays() -> dict[str, np.ndarray]:
    """The arrays of the file."""
    axis = np.linspace(0.01, 0.99, SIDE)
    uv = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    neutral = np.zeros((COUNT, 3), np.float32)
    neutral[: SIDE**2] = surface(uv)
    grid = np.arange(SIDE**2).reshape(SIDE, SIDE)
    skin = np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], -1).reshape(-1, 4)
    faces = [skin]
    spiral = np.arange(800) + 0.5
    z, turn = 1 - spiral / 800, np.pi * (1 + 5**0.5) * spiral
    r = np.sqrt(1 - z * z)
    iris = np.stack([0.45 * r * np.cos(turn), 0.45 * r * np.sin(turn), 0.9 + 0.1 * z], 1)
    for start, end, first, x in ((21451, 23021, 22221, -3.15), (23021, 24591, 23791, 3.15)):
        ball = np.random.default_rng(start).normal(size=(end - start, 3))
        ball /= np.linalg.norm(ball, axis=1, keepdims=True)
        ball[first - start : first - start + 800] = iris
        neutral[start:end] = ball * 1.2 + [x, 3.4, 8.0]
        faces.append(
            np.stack(
                [
                    np.arange(start, end - 3),
                    np.arange(start, end - 3) + 1,
                    np.arange(start, end - 3) + 2,
                    np.full(end - start - 3, -1),
                ],
                1,
            )
        )
    rng = np.random.default_rng(0)
    identity = np.zeros((3, COUNT, 3), np.float16)
    for component in identity:
        component[:] = 0.2 * np.sin(neutral @ rng.normal(0, 0.15, (3, 3)))
        component[SIDE**2 :] = 0
    smile = np.zeros((COUNT, 3), np.float16)
    smile[: SIDE**2, 1] = 0.6 * np.exp(-(((uv[:, 1] - 0.56) / 0.05) ** 2)) * np.abs(uv[:, 0] - 0.5) * 8
    jaw = np.zeros((COUNT, 3), np.float16)
    jaw[: SIDE**2, 1] = -2.0 * np.clip((uv[:, 1] - 0.55) / 0.1, 0, 1)
    points = np.concatenate([surface_points((BROW_UPPER, BROW_LOWER))["3d68"]])
    return {
        "neutral": neutral,
        "identity": identity,
        "expression": np.stack([smile, jaw]),
        "expression_names": np.array(["mouthSmile_L", "jawOpen"]),
        "faces": np.concatenate(faces).astype(np.int32),
        "uv": (uv * [1, -1] + [0, 1]).astype(np.float32),
        "faces_uv": np.concatenate([skin, np.zeros((sum(len(f) for f in faces[1:]), 4), np.int64)]).astype(np.int32),
        "landmarks68": np.array([np.argmin(((uv - p) ** 2).sum(1)) for p in points], np.int32),
    }


@lru_cache(maxsize=1)
def model() -> FaceModel:
    return build(arrays())


def write(folder: Path) -> Path:
    path = folder / "ict_facekit.npz"
    np.savez(path, **arrays())
    return path
