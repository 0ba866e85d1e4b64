"""Fair timing: all contestants take turns in one run, so that a disturbance of the machine meets all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

#: Seconds before each call, in which the threads of the last one stop spinning.
PAUSE = 0.03


@dataclass(frozen=True)
class Times:
    """Seconds of one contestant's rounds."""

    seconds: np.ndarray

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        low, high = np.percentile(self.seconds, [25, 75])
        return float(low), float(high)


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 2) -> dict[str, Times]:
    """Calls each contestant once in every round. Each round starts with another contestant."""
    names = list(calls)
    for _ in range(warmup):
        for name in names:
            calls[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for r in range(rounds):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            time.sleep(PAUSE)
            start = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - start)
    return {name: Times(np.array(values)) for name, values in seconds.items()}
