"""Jobs shared by several threads, which stay for the next jobs.

Threads made anew for each call would cost memory: glibc gives a new thread its own arena where the others are taken,
and each arena keeps the space of the largest picture that it once served.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@functools.cache
def _helpers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "acdc_fast")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)  # a forked child has none of the threads


def shared(work: Callable[[T], R], jobs: Sequence[T], threads: int) -> list[R]:
    """``work`` of each job, in order, by the calling thread and at most ``threads`` − 1 others.

    The others are the same for all calls with this number. Where other calls keep them busy, the calling thread does
    everything, so a job may call `shared` itself. After an error no further job begins; the error is raised when those
    that run have ended.
    """
    results: dict[int, R] = {}
    waiting = deque(enumerate(jobs))

    def take() -> None:
        try:
            while waiting:
                try:
                    number, job = waiting.popleft()
                except IndexError:  # another thread took the last one
                    return
                results[number] = work(job)
        except BaseException:
            waiting.clear()
            raise

    count = min(threads, len(jobs)) - 1
    others = [_helpers(threads - 1).submit(take) for _ in range(count)]
    try:
        take()
    finally:
        for other in others:
            if not other.cancel():
                other.result()
    return [results[number] for number in range(len(jobs))]
