"""Things worn on the head, as more geometry: hair, hats, masks, glasses. Head frame, centimetres."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .markup import eye_centres
from .mesh import PART, FaceModel
from .texture import SIZE, noise_bank

Rng = np.random.Generator
Array = np.ndarray

CROWN = np.array([0.0, 4.0, 0.5], np.float32)  # origin of azimuth and elevation


@dataclass(frozen=True)
class Cover:
    """One piece. ``base``: the face vertices that it grew from (for their visibility of the sky), or empty."""

    vertices: Array  # (n, 3)
    triangles: Array  # (t, 3)
    material: str  # "hair", "cloth", "frame", "lens"
    coordinates: Array  # (n, 2) texture position, periods of 1
    base: Array = field(default_factory=lambda: np.zeros(0, np.int64))


def spherical(vertices: Array) -> tuple[Array, Array]:
    """Azimuth (0 in front, ±π behind) and elevation of vertices around `CROWN`, radians."""
    d = vertices - CROWN
    return np.arctan2(d[:, 0], d[:, 2]), np.arctan2(d[:, 1], np.hypot(d[:, 0], d[:, 2]))


def _smooth(x: Array) -> Array:
    t = np.clip(x, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _bump(rng: Rng, a: Array, b: Array, kinds: slice) -> Array:
    """Smooth noise at texture positions (periods of 1)."""
    bank = noise_bank()[kinds]
    picked, (r, c) = bank[rng.integers(len(bank))], rng.integers(0, SIZE, 2)
    return np.asarray(picked[(np.floor(b * SIZE).astype(int) + r) % SIZE, (np.floor(a * SIZE).astype(int) + c) % SIZE])


def _shell(
    model: FaceModel, face: Array, normals: Array, height: Array, material: str, coordinates: Array
) -> Cover | None:
    """A copy of the skin where ``height`` (V,) is positive, lifted by that height. Its edge lies below the skin."""
    used = height > -0.15
    used &= (model.part == PART["face"]) | (model.part == PART["head"])
    kept = model.triangles[used[model.triangles].all(1)]
    if len(kept) < 8:
        return None
    base, index = np.unique(kept, return_inverse=True)
    lifted = face[base] + normals[base] * height[base, None]
    return Cover(lifted.astype(np.float32), index.reshape(-1, 3).astype(np.int32), material, coordinates[base], base)


def _ears(model: FaceModel) -> Array:
    u, v = model.uv.T
    return np.asarray((np.abs(u - 0.5) > 0.392) & (v > 0.27) & (v < 0.56) & (model.part == PART["face"]))


def hairline(azimuth: Array, front: float, temple: float, side: float, nape: float) -> Array:
    """Height y of the hairline at each azimuth."""
    at = np.radians([0, 25, 50, 75, 95, 120, 180])
    heights = np.array([front, front - 0.3, temple, side + 2.0, side, (side + nape) / 2 - 1, nape])
    return np.asarray(np.interp(np.abs(azimuth), at, heights))


def hair(model: FaceModel, face: Array, normals: Array, rng: Rng) -> list[Cover]:
    """Short or long hair; some have none."""
    style = rng.random()
    if style < 0.06:
        return []
    azimuth, elevation = spherical(model.neutral)
    recede = rng.beta(1, 4) * 2.5
    front = 10.4 + rng.normal(0, 0.5) + recede
    line = hairline(azimuth, front, front - rng.uniform(0.8, 3.0) + recede, rng.uniform(1.5, 5), rng.uniform(-7, -3))
    x, y, z = model.neutral.T
    across, along = x / 40, (y - z) / 40  # no pole, unlike azimuth and elevation
    line = line + 0.5 * _bump(rng, across, along, slice(0, 6)) + 0.2 * _bump(rng, 2 * across, 2 * along, slice(9, 12))
    if rng.random() < 0.25:  # fringe
        reach = rng.uniform(1.0, 4.2)
        swept = 1 + rng.uniform(-0.8, 0.8) * np.sin(azimuth * 1.5)
        line = line - reach * _smooth((1.15 - np.abs(azimuth)) / 0.5) * swept
    thick = float(rng.choice([rng.uniform(0.15, 0.5), rng.uniform(0.6, 1.6), rng.uniform(1.5, 3.2)]))
    edge = _smooth((y - line) / (0.5 + 0.9 * thick))
    lumps = (
        1
        + 0.3 * _bump(rng, across, along, slice(0, 6))
        + rng.uniform(0, 0.15) * _bump(rng, across, along, slice(12, 15))
    )
    top = 1 + rng.uniform(0, 1.0) * _smooth((elevation - 0.3) / 0.8)
    height = thick * edge * np.clip(lumps, 0.3, 2) * top + np.clip(0.3 * (y - line), -0.25, 0.08)
    height = np.where(_ears(model), -1, height)
    angle = rng.normal(0, 0.5) if rng.random() < 0.5 else rng.normal(np.pi / 2, 0.5)  # combed back, or to the sides
    wave = rng.uniform(0, 0.03) * _bump(rng, across, along, slice(0, 9))
    over = (x * np.cos(angle) + z * np.sin(angle)) / 16 + 0.012 * y * rng.normal() + wave
    strands = np.stack([over, (y - x * np.sin(angle)) / rng.uniform(20, 60)], 1).astype(np.float32)
    pieces = [_shell(model, face, normals, height, "hair", strands)]
    if rng.random() < 0.38:
        pieces.append(_curtain(float(face[_ears(model), 0].max()), rng, thick))
    return [piece for piece in pieces if piece is not None]


def _curtain(half_head: float, rng: Rng, thick: float) -> Cover:
    """Long hair that hangs from the temples and the back of the head."""
    columns, rows = 44, 14
    opening = np.radians(rng.uniform(55, 105))
    angle = np.linspace(opening, 2 * np.pi - opening, columns)
    drop = np.linspace(0, 1, rows)[:, None]
    top, bottom = rng.uniform(4.5, 7.5), rng.uniform(-20, -3)
    half_width = 0.93 * half_head + 0.25 * thick
    waves = rng.normal(0, 0.25, 4) @ np.sin(np.outer([2, 3, 5, 9], angle) + rng.uniform(0, 6, (4, 1)))
    flare = rng.uniform(-0.08, 0.22)
    wide = (
        half_width * (0.86 + 0.18 * np.sqrt(drop) + flare * drop)
        + 0.3 * waves
        + 0.25 * rng.normal(0, 1, (rows, 1)) * drop
    )
    deep = wide * rng.uniform(0.92, 1.1)
    x = wide * np.sin(angle)
    z = 0.2 + deep * np.cos(angle) * np.where(np.cos(angle) > 0, 0.75, 1.0)
    y = top + (bottom - top) * drop * (1 + rng.normal(0, 0.04, columns)) + 0.5 * waves * drop
    grid = np.arange(rows * columns).reshape(rows, columns)
    triangles = _sheet(grid)
    coordinates = np.stack(
        np.broadcast_arrays(angle / 2 + 0.15 * waves * drop, drop * rng.uniform(0.3, 0.8)), -1
    ).reshape(-1, 2)
    vertices = np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32)
    both = np.concatenate([triangles, triangles[:, ::-1]])  # seen from inside too
    return Cover(vertices, both.astype(np.int32), "hair", coordinates.astype(np.float32))


def _sheet(grid: Array) -> Array:
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    return np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])


def hat(model: FaceModel, face: Array, normals: Array, rng: Rng) -> Cover | None:
    """A cap or a headscarf: cloth over the crown, with a rim."""
    azimuth, elevation = spherical(model.neutral)
    a, b = azimuth / (2 * np.pi), elevation / (2 * np.pi)
    scarf = rng.random() < 0.35
    front = rng.uniform(7.6, 10.0)
    line = hairline(
        azimuth,
        front,
        front - (1.5 if scarf else 0.2),
        rng.uniform(-9, -5) if scarf else rng.uniform(4.5, 7),
        -12 if scarf else rng.uniform(-2, 4),
    )
    y = model.neutral[:, 1]
    if scarf:  # covers ears and neck
        line = np.minimum(line, np.interp(np.abs(azimuth), [0.9, 1.25], [20.0, -16.0]))
    height = np.clip(y - line, -0.3, rng.uniform(0.5, 1.3)) + 0.1 * _bump(rng, 2 * a, 2 * b, slice(0, 9))
    height += np.where(y > line, _smooth((elevation - 0.5) / 0.7) * rng.uniform(0, 3), 0)
    return _shell(model, face, normals, height, "cloth", np.stack([4 * a, 4 * b], 1).astype(np.float32))


def mask(model: FaceModel, face: Array, normals: Array, rng: Rng) -> Cover | None:
    """Cloth over mouth and chin, and for most over the nose too."""
    x, y, z = model.neutral.T
    top = rng.uniform(0.5, 2.4) if rng.random() < 0.75 else rng.uniform(-2.2, -1.4)
    upper = top - 0.02 * x**2
    bottom = rng.uniform(-9, -7)
    inside = (y < upper) & (y > bottom) & (z > rng.uniform(2.0, 5.0)) & ~_ears(model)
    height = np.where(inside, rng.uniform(0.25, 0.6) + 0.08 * _bump(rng, x / 20, y / 20, slice(0, 9)), -0.3)
    return _shell(model, face, normals, height, "cloth", np.stack([x / 10, y / 10], 1).astype(np.float32))


def glasses(points: dict[str, Array], rng: Rng) -> tuple[list[Cover], float]:
    """Frames and lenses that fit the person's points (L, 3), and how dark the lenses are (0 clear … 1)."""
    eyes = eye_centres(points["2d98"])
    bridge = points["2d68"][27]
    apart = np.linalg.norm(eyes[1] - eyes[0])
    wide, high = apart * rng.uniform(0.34, 0.44), apart * rng.uniform(0.2, 0.38)
    sharp = rng.uniform(2, 4.5)  # exponent of the superellipse
    lower = rng.uniform(-0.6, 0.1)
    front = max(points["2d98"][33:51, 2].max(), bridge[2]) + rng.uniform(0.2, 0.5)
    bow = rng.uniform(0.02, 0.06)
    tube = float(rng.choice([0.06, 0.12, 0.22])) * rng.uniform(0.8, 1.2)
    t = np.linspace(0, 2 * np.pi, 37)[:-1]
    pieces: list[Cover] = []

    def bent(x: Array, y: Array) -> Array:
        return np.stack([x, y, front - bow * x**2 + 0 * x], -1)

    for side, eye in ((-1, eyes[0]), (1, eyes[1])):
        c, s = np.cos(t), np.sin(t)
        middle_x = side * max(abs(eye[0]), wide + 0.35)
        rim = bent(
            middle_x + wide * np.sign(c) * np.abs(c) ** (2 / sharp),
            eye[1] + lower + high * np.sign(s) * np.abs(s) ** (2 / sharp),
        )
        pieces.append(_tube(rim, tube, True))
        fan = np.stack([np.full(36, 36), np.arange(36), (np.arange(36) + 1) % 36], 1)
        glass = np.concatenate([rim, rim.mean(0, keepdims=True)]).astype(np.float32)
        pieces.append(Cover(glass, fan.astype(np.int32), "lens", (glass[:, :2] * 0.05).astype(np.float32)))
        hinge = rim[0 if side > 0 else 18] + [0, 0.5 * high, 0]
        ear = points["3d68"][0 if side < 0 else 16] + [side * 0.3, 1.0, -1.5]
        pieces.append(_tube(np.linspace(hinge, ear, 8), tube * 1.2, False))
    nose = np.linspace(-1, 1, 7) * max(0.35, apart / 2 - wide + 0.1)
    arch = bent(nose, bridge[1] + lower + 0.3 + 0.3 * (1 - np.linspace(-1, 1, 7) ** 2))
    pieces.append(_tube(arch, tube, False))
    dark = rng.uniform(0.75, 1.0) if rng.random() < 0.35 else rng.uniform(0, 0.15)
    return pieces, float(dark)


def _tube(line: Array, radius: float, closed: bool) -> Cover:
    """A round tube along a line (n, 3)."""
    along = np.roll(line, -1, 0) - np.roll(line, 1, 0) if closed else np.gradient(line, axis=0)
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    up = np.cross(along, [0.03, 0.05, 1.0])
    up /= np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-6)
    out = np.cross(along, up)
    angle = np.linspace(0, 2 * np.pi, 7)[:-1]
    ring = line[:, None] + radius * (np.cos(angle)[:, None] * up[:, None] + np.sin(angle)[:, None] * out[:, None])
    grid = np.arange(len(line) * 6).reshape(len(line), 6)
    grid = np.concatenate([grid, grid[:, :1]], 1)
    if closed:
        grid = np.concatenate([grid, grid[:1]])
    triangles = _sheet(grid)
    triangles = np.concatenate([triangles, triangles[:, ::-1]])
    return Cover(
        ring.reshape(-1, 3).astype(np.float32),
        triangles.astype(np.int32),
        "frame",
        np.zeros((len(line) * 6, 2), np.float32),
    )
