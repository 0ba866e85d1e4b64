"""From linear light to an ordinary photo: lens blur, tone curve, noise, compression."""

from __future__ import annotations

import cv2
import numpy as np


def develop(rng: np.random.Generator, light: np.ndarray, size: int) -> np.ndarray:
    """(W, W) linear light -> (size, size) uint8, area-averaged, toned, blurred, noisy, compressed."""
    small = cv2.resize(light.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    tone = np.clip(small, 0, None)
    tone = tone / (1 + 0.25 * tone**2)  # highlights roll off
    image = np.clip(tone, 0, 1) ** np.float32(1 / rng.uniform(1.8, 2.4))
    contrast = np.clip(rng.normal(1.25, 0.2), 0.7, 1.8)
    image = (image - 0.5) * contrast + 0.5 + rng.normal(-0.05, 0.05)
    kind = rng.random()
    if kind < 0.45:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.2)))
    elif kind < 0.57:  # enlarged from a small picture
        factor = rng.uniform(0.25, 0.6)
        reduced = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        image = cv2.resize(
            reduced, (size, size), interpolation=cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
        )
    elif kind < 0.63:
        image = _shaken(rng, image)
    sigma = rng.uniform(0, 0.014) if rng.random() < 0.8 else np.exp(rng.uniform(np.log(0.012), np.log(0.06)))
    grain = rng.standard_normal(image.shape, np.float32)
    if rng.random() < 0.4:
        grain = cv2.GaussianBlur(grain, (0, 0), 0.7) * 1.8
    image = image + grain * np.float32(sigma)
    out = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.7:
        quality = int(rng.uniform(25, 95))
        _, code = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])
        out = cv2.imdecode(code, cv2.IMREAD_GRAYSCALE)
    return np.asarray(out)


def _shaken(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Motion blur along a line centred on the pixel, so that points stay where they are."""
    kernel = np.zeros((9, 9), np.float32)
    step = np.array([np.cos(a := rng.uniform(0, np.pi)), np.sin(a)]) * rng.uniform(1, 4)
    low, high = np.rint((4 - step) * 16).astype(int), np.rint((4 + step) * 16).astype(int)
    cv2.line(kernel, tuple(low.tolist()), tuple(high.tolist()), 1.0, 1, cv2.LINE_AA, 4)
    return np.asarray(cv2.filter2D(image, -1, kernel / max(kernel.sum(), 1e-6)))
