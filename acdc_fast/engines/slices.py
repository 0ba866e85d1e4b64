"""A long batch on a CPU runs in turns of about `SLICE` seconds. Between two turns Python answers Ctrl-C."""

from __future__ import annotations

import os
import time
from typing import Any

from ..readout.predictions import joined
from ..types import Prediction

#: Seconds.
SLICE = 0.25


def run_in_slices(engine: Any, crops: Any, most: int | None = None, **options: Any) -> Prediction:
    """``engine(crops, **options)`` for at least one crop. Results do not depend on the slices. A GPU has one slice.

    ``most``: crops of one slice at most."""
    threads = getattr(engine, "threads", None) or os.cpu_count() or 1
    on_gpu = str(getattr(engine, "device", "cpu")) != "cpu"
    size = len(crops) if on_gpu else max(1, 2 * threads * 128**2 // crops.shape[2] ** 2)
    most = most or len(crops)
    parts: list[Prediction] = []
    start = 0
    while start < len(crops):
        size = min(size, most)
        began = time.perf_counter()
        parts.append(engine(crops[start : start + size], **options))
        start, took = start + size, time.perf_counter() - began
        size = size * 2 if took < SLICE / 2 else max(1, size // 2) if took > SLICE * 2 else size
    return joined(parts)
