"""Light: several lamps and a sky. The soft shadows come from the part of the sky that each vertex sees."""

from __future__ import annotations

import numpy as np

from acdc_fast import _native

DIRECTIONS = 96  # of the sky, to measure its visibility
RESOLUTION = 192  # side of the shadow maps, pixels


def harmonics(d: np.ndarray) -> np.ndarray:
    """Real spherical harmonics up to degree 2, orthonormal: directions (N, 3) -> (N, 9)."""
    x, y, z = np.asarray(d, np.float64).T
    return np.stack(
        [
            np.full_like(x, 0.282095), 0.488603 * y, 0.488603 * z, 0.488603 * x, 1.092548 * x * y,
            1.092548 * y * z, 0.315392 * (3 * z * z - 1), 1.092548 * x * z, 0.546274 * (x * x - y * y),
        ],
        1,
    )  # fmt: skip


def sphere(count: int) -> np.ndarray:
    """Evenly spread directions (Fibonacci spiral), (count, 3)."""
    i = np.arange(count) + 0.5
    z = 1 - 2 * i / count
    angle = np.pi * (1 + 5**0.5) * i
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], 1)


def facing(direction: np.ndarray) -> np.ndarray:
    """A rotation (3, 3) that turns ``direction`` towards the viewer. Its last row is ``direction``."""
    z = direction / np.linalg.norm(direction)
    up = np.array([0.0, 1.0, 0.0]) if abs(z[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    x = np.cross(up, z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def sky_visibility(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V, 9) harmonics of the visible part of the sky, from one shadow map for each direction (1 lit, 0 not)."""
    centre = (vertices.max(0) + vertices.min(0)) / 2
    radius = float(np.linalg.norm(vertices - centre, axis=1).max())
    scale = (RESOLUTION / 2 - 2) / radius
    total = np.zeros((len(vertices), 9))
    empty = np.zeros((len(vertices), 0), np.float32)
    around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    for direction in sphere(DIRECTIONS):
        seen = (vertices - centre) @ facing(direction).T * [scale, -scale, 1] + [RESOLUTION / 2, RESOLUTION / 2, 0]
        flat = seen.astype(np.float32)
        _, depth, _ = _native.rasterize(flat, triangles, empty, RESOLUTION, RESOLUTION, False)
        column, row = (np.clip(np.rint(seen[:, k]).astype(int), 1, RESOLUTION - 2) for k in (0, 1))
        lit = np.mean([seen[:, 2] > depth[row + dy, column + dx] - 0.35 for dy, dx in around], 0)
        total += lit[:, None] * harmonics(direction[None])
    return (total * (4 * np.pi / DIRECTIONS)).astype(np.float32)


class Light:
    """Lamps and sky of one shot, in the camera's frame."""

    def __init__(self, rng: np.random.Generator) -> None:
        lamps = rng.integers(1, 4)
        directions = rng.normal(0, 1, (lamps, 3)) * [1.0, 0.7, 0.5] + [0, 0.5, 0.9]
        if rng.random() < 0.15:  # against the light or hard from one side
            directions[0] = [rng.choice([-1, 1]) * rng.uniform(0.7, 1), rng.uniform(-0.2, 0.6), rng.uniform(-0.5, 0.2)]
        self.directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        self.powers = rng.dirichlet(np.ones(lamps)) * rng.uniform(0.4, 1.3)
        self.wrap = rng.uniform(0.05, 0.35)  # light that scatters under the skin
        up = rng.normal(0, 1, 3) * [0.6, 0.6, 0.4] + [0, 0.6, 0.3]
        self.sky = rng.uniform(0.15, 0.5) * np.concatenate(
            [[1.0], 0.35 * up[[1, 2, 0]] / np.linalg.norm(up), np.zeros(5)]
        )
        self.gloss = rng.uniform(0.02, 0.3)
        self.sharpness = rng.uniform(8, 40)

    def shade(self, normals: np.ndarray, visibility: np.ndarray, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Diffuse and glossy light (V,), (V,) on vertices with ``normals`` in the camera's frame.

        ``visibility`` (V, 9) is in the head's frame. ``rotation`` (head to camera), inverted, takes the lamps there.
        """
        sky = np.concatenate([self.sky[:1], (rotation.T @ self.sky[[3, 1, 2]])[[1, 2, 0]], self.sky[4:]])
        diffuse = np.clip(visibility @ sky.astype(np.float32) / 3.5, 0, None)  # 3.5 = the whole sky's first harmonic
        glossy = np.zeros_like(diffuse)
        for direction, power in zip(self.directions, self.powers, strict=True):
            head = rotation.T @ direction
            lit = np.clip(1.15 * (visibility @ harmonics(head[None])[0].astype(np.float32)), 0, 1)
            facing_lamp = normals @ direction.astype(np.float32)
            diffuse += power * lit * np.clip((facing_lamp + self.wrap) / (1 + self.wrap), 0, None)
            half = direction + np.array([0, 0, 1])
            half /= np.linalg.norm(half)
            glossy += power * lit * np.clip(normals @ half.astype(np.float32), 0, None) ** self.sharpness
        return diffuse, glossy * self.gloss
