"""Painted skin: reflectance of the face over its texture layout, in linear light.

Lips, brows and lids are painted at the points of `markup`, so that picture and labels agree exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .markup import _EYE98, _INNER_LIP, _OUTER_LIP, mirror
from .texture import SHIFT, SIZE, blob, both_sides, draw_lines, draw_on_both_sides, filled, noise, pixels_of


@dataclass(frozen=True)
class Looks:
    """The look of one person's skin."""

    tone: float  # reflectance of bare skin
    age: float  # 0 child … 1 old: wrinkles and blotches
    beard: float  # 0 none … 1 full
    brow: tuple[np.ndarray, np.ndarray]  # edges of the image-left brow
    brow_dark: float
    hair: float  # reflectance of hair
    makeup: float
    iris: float  # reflectance of the iris
    pupil: float  # radius of the pupil, in radii of the iris


def paint(looks: Looks, rng: np.random.Generator) -> np.ndarray:
    """(SIZE, SIZE) float32 reflectance."""
    blotches, grain = 0.04 + 0.08 * looks.age, rng.uniform(0.015, 0.07)
    log = blotches * noise(rng, slice(0, 9)) + 0.03 * noise(rng, slice(9, 18)) + grain * noise(rng, slice(18, 24))
    log += _broad(looks, rng)
    log -= _wrinkles(looks, rng)
    log -= _spots(rng)
    log -= _lips(looks, rng)
    log -= _beard(looks, rng)
    skin = looks.tone * np.exp(log)
    brow = _brows(looks, rng)
    skin = skin * (1 - brow) + looks.hair * looks.brow_dark * brow
    lashes = _lashes(looks, rng)
    return np.asarray(np.clip(skin * (1 - lashes) + 0.02 * lashes, 0.005, 1), np.float32)


@lru_cache(maxsize=1)
def _regions() -> dict[str, np.ndarray]:
    """Soft masks of the regions of the face, the same for all people."""
    outer = np.concatenate([_OUTER_LIP[:4], mirror(_OUTER_LIP[2::-1]), mirror(_OUTER_LIP[:3:-1])[:2], _OUTER_LIP[4:]])
    inner = np.concatenate([_INNER_LIP[:3], mirror(_INNER_LIP[1::-1]), mirror(_INNER_LIP[4:]), _INNER_LIP[3:]])
    del inner  # the inner side of the lips goes on into the mouth
    lips = cv2.GaussianBlur(filled(outer), (0, 0), 1.2)
    jaw = np.array([[0.12, 0.45], [0.2, 0.47], [0.3, 0.5], [0.38, 0.49], [0.5, 0.475]])
    jaw = np.concatenate([jaw, mirror(jaw[-2::-1]), [[0.8, 0.8], [0.2, 0.8]]])
    beard = cv2.GaussianBlur(filled(jaw), (0, 0), 10)
    moustache = filled(np.array([[0.38, 0.56], [0.42, 0.475], [0.5, 0.465], [0.58, 0.475], [0.62, 0.56], [0.5, 0.50]]))
    goatee = filled(
        np.array([[0.39, 0.55], [0.40, 0.73], [0.5, 0.77], [0.60, 0.73], [0.61, 0.55], [0.57, 0.65], [0.43, 0.65]])
    )
    return {
        "lips": lips,
        "beard": beard * (1 - lips),
        "moustache": cv2.GaussianBlur(moustache, (0, 0), 3) * (1 - lips),
        "goatee": cv2.GaussianBlur(goatee, (0, 0), 5) * (1 - lips),
        "cheeks": both_sides(blob(0.3, 0.42, 0.08, 0.08)),
        "sockets": both_sides(blob(0.36, 0.275, 0.07, 0.035)),
        "bags": both_sides(blob(0.37, 0.315, 0.05, 0.016)),
        "nose": blob(0.5, 0.40, 0.05, 0.05),
        "forehead": blob(0.5, 0.1, 0.25, 0.06),
    }


def _broad(looks: Looks, rng: np.random.Generator) -> np.ndarray:
    r = _regions()
    return np.asarray(
        -rng.uniform(0, 0.35) * r["sockets"] - rng.uniform(0, 0.2) * (0.5 + looks.age) * r["bags"]
        + rng.normal(0, 0.07) * r["cheeks"] + rng.normal(0, 0.05) * r["nose"] + rng.normal(0.03, 0.06) * r["forehead"]
        - looks.makeup * rng.uniform(0, 0.5) * r["sockets"]
    )  # fmt: skip


def _lips(looks: Looks, rng: np.random.Generator) -> np.ndarray:
    dark = rng.uniform(0.05, 0.4) + looks.makeup * rng.uniform(0, 0.7)
    stripes = 1 + 0.25 * noise(rng, slice(12, 18))
    return np.asarray(dark * _regions()["lips"] * stripes)


def _beard(looks: Looks, rng: np.random.Generator) -> np.ndarray:
    if looks.beard <= 0:
        return np.zeros((SIZE, SIZE), np.float32)
    r = _regions()
    style = rng.random()
    where = r["beard"] if style < 0.6 else np.maximum(r["moustache"], r["goatee"] if style < 0.85 else 0)
    where = np.maximum(where, r["moustache"] * rng.uniform(0.3, 1))
    bristles = np.clip(1 + 0.5 * noise(rng, slice(18, 24)) + 0.3 * noise(rng, slice(9, 18)), 0, 3)
    return np.asarray(where * bristles * looks.beard * np.log(max(1.3, looks.tone / max(looks.hair, 0.02))))


def _spots(rng: np.random.Generator) -> np.ndarray:
    canvas = np.zeros((SIZE, SIZE), np.float32)
    for _ in range(rng.poisson(4)):  # moles, pimples, scars
        u, v = rng.uniform(0.12, 0.88), rng.uniform(0.03, 0.8)
        cv2.circle(
            canvas,
            tuple(pixels_of([u, v]).tolist()),
            int(rng.uniform(8, 30)),
            rng.uniform(0.1, 0.9),
            -1,
            cv2.LINE_AA,
            SHIFT,
        )
    if rng.random() < 0.2:  # freckles
        spread = np.clip(noise(rng, slice(12, 18)) - 1.0, 0, 2)
        canvas += rng.uniform(0.1, 0.35) * spread * (_regions()["cheeks"] + 1.5 * _regions()["nose"] + 0.3)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 0.8))


def _wrinkles(looks: Looks, rng: np.random.Generator) -> np.ndarray:
    canvas = np.zeros((SIZE, SIZE), np.float32)
    deep = looks.age**1.5
    fold = np.array([[0.415, 0.435], [0.395, 0.47], [0.372, 0.51], [0.355, 0.56], [0.350, 0.60]])
    draw_on_both_sides(canvas, fold + rng.normal(0, 0.004, fold.shape), rng.uniform(0.0, 0.25) + 0.5 * deep, 3)
    draw_on_both_sides(
        canvas,
        np.array([[0.395, 0.30], [0.37, 0.315], [0.34, 0.316], [0.32, 0.308]]),
        0.1 + 0.35 * deep * rng.random(),
        2,
    )
    crease = _EYE98[:5] + np.array([[-0.004, -0.004], [0, -0.012], [0, -0.014], [0, -0.012], [0, -0.006]])
    draw_on_both_sides(canvas, crease, rng.uniform(0.1, 0.7), 1)
    if deep > 0.15:
        for v in np.linspace(0.06, 0.16, rng.integers(2, 6)):
            x = np.linspace(0.25, 0.75, 12)
            draw_lines(
                canvas,
                np.stack([x, v + 0.006 * np.sin(9 * x + rng.uniform(0, 6)) + rng.normal(0, 0.002, 12)], 1),
                deep * rng.uniform(0.1, 0.5),
                2,
            )
        for k in range(3):
            draw_on_both_sides(
                canvas,
                np.array([[0.30, 0.285], [0.275, 0.27 + 0.016 * k], [0.255, 0.262 + 0.025 * k]]),
                deep * rng.uniform(0.1, 0.5),
                1,
            )
        draw_on_both_sides(canvas, np.array([[0.488, 0.20], [0.485, 0.225]]), deep * rng.uniform(0, 0.5), 2)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 1.3))


def _brows(looks: Looks, rng: np.random.Generator) -> np.ndarray:
    """Opacity of the brows: a soft ground, and single hairs that lean outwards."""
    upper, lower = looks.brow
    ground = filled(np.concatenate([upper, lower[::-1]]))
    canvas = cv2.GaussianBlur(ground, (0, 0), 1.6) * rng.uniform(0.3, 0.75)
    hairs = np.zeros((SIZE, SIZE), np.float32)
    count = int(rng.integers(40, 90))
    t = rng.uniform(0.02, 1, count)
    across = rng.uniform(-0.1, 1.1, count)
    at = np.arange(5) / 4
    top, bottom = (np.stack([np.interp(t, at, e[:, k]) for k in (0, 1)], 1) for e in (upper, lower))
    root = bottom + across[:, None] * (top - bottom)
    lean = np.stack([-0.012 - 0.004 * (1 - t), -0.012 * t * (1 - across) + 0.004 * across], 1) * rng.uniform(
        0.7, 1.3, (count, 1)
    )
    ends = pixels_of(np.stack([root, root + lean], 1))
    cv2.polylines(hairs, list(ends), False, float(rng.uniform(0.5, 1)), 1, cv2.LINE_AA, SHIFT)
    canvas = np.clip(canvas + cv2.GaussianBlur(hairs, (0, 0), 0.6), 0, 0.97)
    return both_sides(canvas)


def _lashes(looks: Looks, rng: np.random.Generator) -> np.ndarray:
    """Opacity of the dark edges of the lids, for lashes seen from afar; darker with make-up."""
    canvas = np.zeros((SIZE, SIZE), np.float32)
    upper, lower = _EYE98[:5], np.concatenate([_EYE98[4:], _EYE98[:1]])
    strength = rng.uniform(0.5, 0.9) + 0.3 * looks.makeup
    draw_lines(canvas, upper + np.array([0, 0.001]), min(strength, 1), 2 if looks.makeup < 0.5 else 3)
    draw_lines(canvas, lower, 0.45 * strength, 1)
    for t in np.linspace(0, 1, 14):
        x = np.array([np.interp(t, np.arange(5) / 4, upper[:, k]) for k in (0, 1)])
        tip = x + np.array([0.012 * (t - 0.6), -0.006]) * rng.uniform(0.5, 1.4)
        draw_lines(canvas, np.stack([x, tip]), 0.5 * strength, 1)
    return both_sides(cv2.GaussianBlur(np.clip(canvas, 0, 1), (0, 0), 0.5))


def sample_looks(rng: np.random.Generator, brow_edges: tuple[np.ndarray, np.ndarray]) -> Looks:
    tone = float(np.clip(rng.normal(0.42, 0.16), 0.07, 0.75))
    hair = float(np.clip(np.exp(rng.normal(np.log(0.06), 0.8)), 0.012, 0.6))
    age = float(rng.beta(1.3, 1.6))
    if rng.random() < 0.5 * age**2:
        hair = float(rng.uniform(0.3, 0.7))  # grey
    return Looks(
        tone=tone, age=age, beard=float(rng.choice([0, 0, 0, rng.uniform(0.05, 0.3), rng.uniform(0.3, 1)])),
        brow=brow_edges, brow_dark=float(rng.uniform(0.7, 1.2)), hair=hair,
        makeup=float(rng.choice([0, 0, rng.random()])),
        iris=float(np.exp(rng.uniform(np.log(0.02), np.log(0.35)))), pupil=float(rng.uniform(0.25, 0.55)),
    )  # fmt: skip
