"""Faces together with their mirror images, so that a fit favours neither side of the face."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from acdc_fast.markups import MARKUPS, mirrored_points


def with_mirrored_points(points: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Markup → (N, L, 2) crop units → (2N, L, 2): the points of N faces, then those of their mirror images."""
    return {m: np.concatenate([p, mirrored_points(p, m)]) for m, p in points.items()}


def with_mirrored_values(values: np.ndarray, markup: str) -> np.ndarray:
    """(N, L), one value for each point → (2N, L): those of N faces, then those of their mirror images."""
    return np.concatenate([values, values[:, MARKUPS[markup].mirror]])
