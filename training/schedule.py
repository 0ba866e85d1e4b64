"""Learning rate and crop resolution as functions of the update count, so that a resumed run needs no state for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """A number of updates at one crop resolution and batch size. Phases follow each other."""

    updates: int
    resolution: int = 128
    batch: int = 8  # faces of one update, all processes together


def learning_rate(step: int, updates: int, base: float, power: float = 0.9, warmup: int = 0) -> float:
    """Polynomial annealing (paper §III-D: power 0.9), after a linear warm-up over ``warmup`` updates (ours).

    ``step`` counts from 0; the rate reaches 0 at ``step == updates``.
    """
    ramp = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return base * ramp * math.pow(max(0.0, 1 - step / updates), power)


def phase_at(step: int, phases: Sequence[Phase]) -> Phase:
    """The phase of update ``step``. Past the end: the last phase."""
    for phase in phases:
        if step < phase.updates:
            return phase
        step -= phase.updates
    return phases[-1]
