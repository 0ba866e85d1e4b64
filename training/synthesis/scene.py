"""Backgrounds behind the face, and objects in front of it."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .texture import SIZE, noise

Rng = np.random.Generator


@lru_cache(maxsize=1)
def _strand_bank() -> np.ndarray:
    """(N, 256, 256) periodic stripes along the second axis, fine to coarse: for hair and cloth."""
    rng = np.random.default_rng(21)
    fy, fx = np.fft.fftfreq(256)[:, None] * 256, np.fft.rfftfreq(256)[None] * 256
    bank = []
    for narrow, length in [(90, 4), (60, 3), (40, 4), (110, 10), (60, 40)]:
        spectrum = np.exp(-((fy / length) ** 2)) * (fx > 1) * np.exp(-((fx / narrow) ** 2))
        stripes = np.fft.irfft2(np.fft.rfft2(rng.normal(0, 1, (256, 256))) * spectrum, (256, 256))
        bank.append(stripes / stripes.std())
    return np.stack(bank).astype(np.float32)


def strands(rng: Rng) -> np.ndarray:
    bank = _strand_bank()
    return np.asarray(bank[rng.integers(len(bank))])


def _texture(rng: Rng, wide: int) -> np.ndarray:
    """(wide, wide) noise, enlarged by a random factor; coarse noise more often than fine."""
    cut = int(rng.uniform(0.15, 1) * SIZE)
    kinds = slice(0, 12) if rng.random() < 0.8 else slice(12, 24)
    return np.asarray(cv2.resize(noise(rng, kinds)[:cut, :cut], (wide, wide), interpolation=cv2.INTER_LINEAR))


def backdrop(rng: Rng, wide: int) -> np.ndarray:
    """(wide, wide) linear light: gradients, textures, edges of rooms and blurred objects."""
    axis = np.linspace(-1, 1, wide, dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    level = np.exp(rng.normal(-1.6, 0.9))
    slope = np.cos(angle) * axis[None] + np.sin(angle) * axis[:, None]
    out = level * np.exp(rng.normal(0, 0.4) * slope + rng.uniform(0, 0.6) * _texture(rng, wide))
    for _ in range(int(rng.integers(0, 14))):
        value = float(np.exp(rng.normal(-1.6, 1.0)))
        x, y = rng.uniform(-0.1, 1.1, 2) * wide
        w, h = np.exp(rng.uniform(np.log(0.03), np.log(0.7), 2)) * wide
        kind = rng.integers(4)
        if kind == 0:
            corners = cv2.boxPoints(((x, y), (w, h), rng.normal(0, 25)))
            cv2.fillPoly(out, [corners.astype(np.int32)], value, cv2.LINE_AA)
        elif kind == 1:
            cv2.ellipse(out, ((x, y), (w, h), rng.uniform(0, 180)), value, -1, cv2.LINE_AA)
        elif kind == 2:
            end = (int(x + rng.normal(0, 0.6) * wide), int(y + rng.normal(0, 0.6) * wide))
            cv2.line(out, (int(x), int(y)), end, value, int(rng.integers(1, 8)), cv2.LINE_AA)
        else:
            cv2.fillPoly(
                out, [(np.array([x, y]) + rng.normal(0, 0.15, (5, 2)) * wide).astype(np.int32)], value, cv2.LINE_AA
            )
    sigma = np.exp(rng.uniform(np.log(0.3), np.log(8)))
    return np.asarray(cv2.GaussianBlur(out, (0, 0), float(sigma)), np.float32)


def occlude(rng: Rng, picture: np.ndarray, points: np.ndarray, skin: float) -> tuple[np.ndarray, np.ndarray]:
    """Sometimes puts a hand, an object or hair before the face. Returns the picture, and where it is covered."""
    cover = np.zeros(picture.shape, np.uint8)
    if rng.random() >= 0.28:
        return picture, cover > 0
    wide = len(picture)
    side = float(np.ptp(points, axis=0).mean())
    target = points[rng.integers(len(points))] + rng.normal(0, 0.12, 2) * side
    kind = rng.random()
    level = float(np.exp(rng.normal(-1.6, 0.8)))
    if kind < 0.4:
        _hand(rng, cover, target, side)
        level = skin * rng.uniform(0.7, 1.2)
    elif kind < 0.85:
        _thing(rng, cover, target, side)
    else:
        for _ in range(int(rng.integers(8, 40))):
            start = target + rng.normal(0, 0.08, 2) * side + [0, -0.9 * side]
            bend = start + np.array([rng.normal(0, 0.15), 0.8]) * side
            end = bend + np.array([rng.normal(0, 0.2), rng.uniform(0.2, 1.2)]) * side
            t = np.linspace(0, 1, 12)[:, None]
            curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
            cv2.polylines(cover, [np.rint(curve * 16).astype(np.int32)], False, 255, 1, cv2.LINE_AA, 4)
        level *= 0.5
    soft = cv2.GaussianBlur(cover, (0, 0), 0.7).astype(np.float32) / 255
    # Round shading: darker towards the rim, as on a cylinder.
    inner = np.clip(cv2.distanceTransform((cover > 127).astype(np.uint8), cv2.DIST_L2, 3) / (0.09 * side), 0, 1)
    slope = 1 + rng.normal(0, 0.25) * np.linspace(-1, 1, wide, dtype=np.float32)[None]
    paint = level * (0.45 + 0.55 * np.sqrt(inner)) * slope * np.exp(rng.uniform(0, 0.25) * _texture(rng, wide))
    shadow = 1 - 0.35 * cv2.GaussianBlur(cover, (0, 0), 0.04 * side).astype(np.float32) / 255
    return np.asarray(picture * shadow * (1 - soft) + paint * soft, np.float32), cover > 127


def _hand(rng: Rng, cover: np.ndarray, target: np.ndarray, side: float) -> None:
    """Palm and fingers as thick strokes that reach the target from outside the face."""
    angle = rng.uniform(0, np.pi) if rng.random() < 0.8 else rng.uniform(np.pi, 2 * np.pi)  # mostly from below
    reach = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-reach[1], reach[0]])
    finger = side * rng.uniform(0.09, 0.13)
    palm = target + reach * side * rng.uniform(0.45, 0.7)
    spread = rng.uniform(0.95, 1.5)

    def stroke(line: list[np.ndarray], width: float) -> None:
        cv2.polylines(
            cover, [np.rint(np.array(line) * 16).astype(np.int32)], False, 255, max(1, int(width)), cv2.LINE_AA, 4
        )

    for k in range(4):
        offset = across * (k - 1.5) * finger
        root = palm + offset * 1.0
        length = side * rng.uniform(0.35, 0.55) * (0.85 if k in (0, 3) else 1)
        bend = root - reach * length * 0.5 + offset * (spread - 1) * 0.8
        stroke(
            [root, bend, bend - reach * length * 0.5 + across * rng.normal(0, 0.03) * side + offset * (spread - 1)],
            finger * 0.92,
        )
    thumb = palm + across * finger * 2.2 * rng.choice([-1, 1])
    stroke([palm + reach * side * 0.2, thumb, thumb - reach * side * 0.2], finger * 1.1)
    stroke([palm + reach * side * 0.12, palm + reach * side * 1.5], finger * 4.0)


def _thing(rng: Rng, cover: np.ndarray, target: np.ndarray, side: float) -> None:
    """A phone, a cup, a microphone, the edge of something."""
    x, y = (float(v) for v in target)
    w, h = (float(v) for v in np.exp(rng.uniform(np.log(0.15), np.log(0.75), 2)) * side)
    kind = rng.integers(3)
    if kind == 0:
        cv2.fillPoly(cover, [cv2.boxPoints(((x, y), (w, h), rng.uniform(0, 90))).astype(np.int32)], 255, cv2.LINE_AA)
    elif kind == 1:
        cv2.ellipse(cover, ((x, y), (w, h), rng.uniform(0, 180)), 255, -1, cv2.LINE_AA)
    else:
        radius = 0.15 * side * rng.uniform(0.6, 1.4)
        cv2.circle(cover, (int(x), int(y)), int(radius), 255, -1, cv2.LINE_AA)
        down = (int(x + rng.normal(0, 0.3) * side), int(y + side))
        cv2.line(cover, (int(x), int(y)), down, 255, max(1, int(radius)), cv2.LINE_AA)
