"""Pictures of a film: a face with room beside it, and scenes without one."""

from __future__ import annotations

import numpy as np
from helpers.paths import PHOTO
from PIL import Image


def portrait() -> np.ndarray:
    """(240, 320, 3) around a face, and room beside it."""
    return np.asarray(Image.open(PHOTO).convert("RGB").crop((100, 20, 420, 260)))


def scenes() -> dict[str, np.ndarray]:
    suit = np.asarray(Image.open(PHOTO).convert("RGB").crop((100, 272, 420, 512)))
    ramp = np.broadcast_to(np.linspace(0, 255, 320)[None, :, None], (240, 320, 3)).astype(np.uint8)
    return {
        "black": np.zeros((240, 320, 3), np.uint8),
        "green": np.full((240, 320, 3), (90, 120, 90), np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8),
        "gradient": ramp,
        "suit": suit,
    }
