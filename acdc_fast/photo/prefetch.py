"""Work on the next pictures while the ones before are in use, so that all CPUs are busy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetch(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """The results of ``work`` for each item, in order. Up to ``threads`` further items are computed at the same time.

    An error of ``work`` or of ``items`` is raised in the place of its result. If the caller stops early, no further
    item is started.
    """
    source = iter(items)
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            failure = None
            while True:
                while failure is None and len(pending) <= threads:
                    try:
                        pending.append(pool.submit(work, next(source)))
                    except BaseException as error:  # StopIteration too: what is before it comes first
                        failure = error
                if not pending:
                    break
                yield pending.popleft().result()
        finally:
            for each in pending:
                each.cancel()
    if failure is not None and not isinstance(failure, StopIteration):
        raise failure
