"""Times of calls on a GPU, by its own clock. On a CPU, for dry runs, by the process's clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

Call = Callable[[], object]
#: Lower quartile, median and upper quartile of seconds.
Quartiles = tuple[float, float, float]
#: Bytes that are overwritten before a kernel is timed: more than any L2 holds.
FLUSH = 512 * 2**20


def elapsed(call: Call, device: str) -> float:
    """Seconds between two events around a call."""
    if device == "cpu":
        begun = time.perf_counter()
        call()
        return time.perf_counter() - begun
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3


def seconds(call: Call, device: str, rounds: int) -> float:
    """Median over replays of the call's CUDA graph, with a cold L2 each time."""
    if device == "cpu":
        return statistics.median(elapsed(call, device) for _ in range(rounds))
    flush = torch.empty(FLUSH, dtype=torch.uint8, device=device)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    times = []
    for _ in range(rounds):
        flush.zero_()
        times.append(elapsed(graph.replay, device))
    return statistics.median(times)


def turns(calls: Mapping[str, Call], device: str, rounds: int, warmup: int, most: float = 5.0) -> dict[str, Quartiles]:
    """Quartiles of each call's seconds. The calls take turns: at least ten rounds (or ``rounds``), then as many as fit
    in ``most`` seconds."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(warmup):
        for call in calls.values():
            call()
    begun = time.monotonic()
    for done in range(rounds):
        if done >= 10 and time.monotonic() - begun > most:
            break
        for name, call in calls.items():
            times[name].append(elapsed(call, device))
    quartiles = {name: statistics.quantiles(taken if taken[1:] else 2 * taken, n=4) for name, taken in times.items()}
    return {name: (low, middle, high) for name, (low, middle, high) in quartiles.items()}


def bandwidth(device: str, size: int, rounds: int) -> float:
    """Bytes a second, read plus written, of a copy of ``size`` bytes."""
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / seconds(lambda: target.copy_(source), device, rounds)
