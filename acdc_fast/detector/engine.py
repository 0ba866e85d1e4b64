"""The detector's C++ engine, made from its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ..native_library import load
from .plan import BACKBONE, LEVELS, STEM


class Engine(Protocol):
    """The engine that `engine` makes. Several threads may call it at once."""

    def find(self, grey: np.ndarray, least: float, part: int = 0, parts: int = 1) -> np.ndarray:
        """(H, W) uint8 → (N, 5) float32: x0, y0, x1, y1 in pixels, score; of cells that score at least ``least``.

        Of several ``parts`` each has a share of the cells' rows. Together they give what one call gives."""

    def outputs(self, grey: np.ndarray) -> list[np.ndarray]:
        """(H, W) uint8 → the network's raw outputs (5, ⌈H/s⌉, ⌈W/s⌉) float32, one array for each level of stride s."""


def engine(arrays: Mapping[str, np.ndarray], isa: str = "") -> Engine:
    """Arrays named as in `weights.shapes` → the engine. Raises `InputError` for arrays that do not fit."""
    made: Engine = library().Detector(
        stem=STEM, blocks=list(BACKBONE), levels=list(LEVELS), weights=dict(arrays), isa=isa
    )
    return made


def library() -> Any:
    """`acdc_fast._native`. Raises `BackendUnavailable` with the reason if it cannot be used."""
    return load("detector 'own'", "detector='library'")
