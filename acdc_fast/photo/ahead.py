"""Work on the next pictures while the ones before are in use, so that all CPUs are busy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """``work`` of each item, in order. Up to ``threads`` items are worked on beside the one that is handed out.

    An error of ``work``, and one of ``items``, is raised when its turn comes. What is not asked for is not begun.
    """
    source = iter(items)
    going: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            failure = None
            while True:
                while failure is None and len(going) <= threads:
                    try:
                        going.append(pool.submit(work, next(source)))
                    except BaseException as error:  # StopIteration too: what is before it comes first
                        failure = error
                if not going:
                    break
                yield going.popleft().result()
        finally:
            for each in going:
                each.cancel()
    if failure is not None and not isinstance(failure, StopIteration):
        raise failure
