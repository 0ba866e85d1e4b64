"""Where a call of `Model.align` spends its time: when each thread reads, finds faces and runs the network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from acdc_fast import model as models
from acdc_fast.photo import finding

R = TypeVar("R")


@dataclass(frozen=True)
class Span:
    """One call of a stage. Times in seconds: of the clock, and of the thread's own CPU."""

    stage: str  # "read" (with decoding), "find" or "network"
    thread: int
    start: float
    end: float
    cpu: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


def timed(stage: str, function: Callable[..., R], spans: list[Span]) -> Callable[..., R]:
    """The same function; each call adds a span."""

    def call(*given: Any, **named: Any) -> R:
        start, cpu = time.perf_counter(), time.thread_time()
        try:
            return function(*given, **named)
        finally:
            cpu = time.thread_time() - cpu
            spans.append(Span(stage, threading.get_ident(), start, time.perf_counter(), cpu))

    return call


@contextmanager
def recorded() -> Iterator[list[Span]]:
    """Within it every call of a stage is kept. The spans are complete when the call of `align` has ended."""
    spans: list[Span] = []
    places: list[tuple[Any, str, str]] = [
        (finding, "load_picture", "read"), (finding, "detect", "find"), (models.Model, "_run", "network"),
    ]  # fmt: skip
    before = [getattr(place, name) for place, name, _ in places]
    for (place, name, stage), function in zip(places, before, strict=True):
        setattr(place, name, timed(stage, function, spans))
    try:
        yield spans
    finally:
        for (place, name, _), function in zip(places, before, strict=True):
            setattr(place, name, function)
