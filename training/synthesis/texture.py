"""The texture layout of the face as square pictures: noise, and shapes drawn at u, v in [0, 1]."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .markup import mirror

SIZE = 384  # of the texture
SHIFT = 4  # cv2 draws at 1/16 of a pixel


@lru_cache(maxsize=1)
def noise_bank() -> np.ndarray:
    """(N, SIZE, SIZE) periodic noise of several spectra, mean 0, deviation 1: for blotches to pores."""
    rng = np.random.default_rng(20)
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]) * SIZE
    bank = []
    for slope, low in [(2.0, 1), (2.0, 1), (1.6, 2), (1.6, 3), (1.2, 6), (1.2, 8), (0.8, 20), (0.5, 40)]:
        for _ in range(3):
            spectrum = np.where(frequency >= low, np.maximum(frequency, 1) ** -slope, 0)
            noise = np.fft.irfft2(np.fft.rfft2(rng.normal(0, 1, (SIZE, SIZE))) * spectrum, (SIZE, SIZE))
            bank.append(noise / noise.std())
    return np.stack(bank).astype(np.float32)


def noise(rng: np.random.Generator, kinds: slice | None = None) -> np.ndarray:
    """One (SIZE, SIZE) noise picture, moved and flipped at random."""
    bank = noise_bank()[kinds or slice(None)]
    picked = bank[rng.integers(len(bank))]
    if rng.random() < 0.5:
        picked = picked[::-1]
    if rng.random() < 0.5:
        picked = picked[:, ::-1]
    rows, columns = rng.integers(0, SIZE, 2)
    return np.roll(picked, (int(rows), int(columns)), (0, 1))


def pixels_of(uv: np.ndarray | list[float]) -> np.ndarray:
    """u, v → the fixed-point pixels that cv2 draws at."""
    return np.asarray(np.rint((np.asarray(uv) * SIZE - 0.5) * 2**SHIFT), np.int32)


def draw_lines(canvas: np.ndarray, uv: np.ndarray, value: float, thickness: int = 1) -> None:
    """Draws a line through the points (N, 2) onto the canvas."""
    cv2.polylines(canvas, [pixels_of(uv)], False, float(value), thickness, cv2.LINE_AA, SHIFT)


def filled(uv: np.ndarray) -> np.ndarray:
    """(N, 2) corners → (SIZE, SIZE) float32: 1 inside the polygon."""
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(canvas, [pixels_of(uv)], 255, cv2.LINE_AA, SHIFT)
    return canvas.astype(np.float32) / 255


def blob(u: float, v: float, wide: float, high: float) -> np.ndarray:
    """(SIZE, SIZE) Gaussian about u, v."""
    axis = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE
    return np.asarray(np.exp(-(((axis[:, None] - v) / high) ** 2)) * np.exp(-(((axis[None] - u) / wide) ** 2)))


def both_sides(canvas: np.ndarray) -> np.ndarray:
    """The larger of the canvas and its mirror image."""
    return np.asarray(np.maximum(canvas, canvas[:, ::-1]))


def draw_on_both_sides(canvas: np.ndarray, uv: np.ndarray, value: float, thickness: int) -> None:
    """`draw_lines`, and the same mirrored."""
    draw_lines(canvas, uv, value, thickness)
    draw_lines(canvas, mirror(uv), value, thickness)
