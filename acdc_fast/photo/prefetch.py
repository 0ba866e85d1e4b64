"""Work on the next pictures while the ones before are in use, so that all CPUs are busy."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Pause:
    """While it is held no further item is begun. For work that keeps all CPUs busy: what is left to compute ahead then
    serves the times in which the caller needs one CPU alone."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._held = 0

    @property
    def on(self) -> bool:
        return self._held > 0

    @contextmanager
    def held(self) -> Iterator[None]:
        with self.changed:
            self._held += 1
        try:
            yield
        finally:
            with self.changed:
                self._held -= 1
                self.changed.notify_all()


def prefetch(
    work: Callable[[T], R],
    items: Iterable[T],
    threads: int,
    ahead: int = 0,
    size: Callable[[R], int] = lambda result: 0,
    room: int = 0,
    pause: Pause | None = None,
) -> Iterator[R]:
    """The results of ``work`` for each item, in order. Up to ``threads`` further items are computed at the same time.

    Up to ``ahead`` more are computed before they are asked for. They only begin while the ``size`` of all results that
    wait is at most ``room``. None begins while ``pause`` is held. An error of ``work`` or of ``items`` is raised in the
    place of its result. If the caller stops early, no further item is started.
    """
    source = enumerate(items)
    pending: deque[Future[R]] = deque()
    shelf = _Shelf(threads, size, room, pause or Pause())

    def begin(index: int, item: T) -> R:
        if not shelf.opens(index):
            raise CancelledError
        result = work(item)
        shelf.put(result)
        return result

    with ThreadPoolExecutor(threads) as pool:
        try:
            failure = None
            while True:
                while failure is None and len(pending) <= threads + ahead:
                    try:
                        pending.append(pool.submit(begin, *next(source)))
                    except BaseException as error:  # StopIteration too: what is before it comes first
                        failure = error
                if not pending:
                    break
                yield shelf.taken(pending.popleft().result())
        finally:
            for each in pending:
                each.cancel()
            shelf.close()
    if failure is not None and not isinstance(failure, StopIteration):
        raise failure


class _Shelf(Generic[R]):
    """The results that wait for their turn, and which work may begin."""

    def __init__(self, threads: int, size: Callable[[R], int], room: int, pause: Pause) -> None:
        self._threads, self._size, self._room, self._pause = threads, size, room, pause
        self._next = self._held = 0  # number of the result that is asked for next; size of all that wait
        self._closed, self._changed = False, pause.changed

    def opens(self, index: int) -> bool:
        """Waits until item ``index`` is one of the next, or there is room. False: nobody wants it any longer."""

        def wanted() -> bool:
            return not self._pause.on and (index <= self._next + self._threads or self._held <= self._room)

        with self._changed:
            self._changed.wait_for(lambda: self._closed or wanted())
            return not self._closed

    def put(self, result: R) -> None:
        with self._changed:
            self._held += self._size(result)

    def taken(self, result: R) -> R:
        with self._changed:
            self._held -= self._size(result)
            self._next += 1
            self._changed.notify_all()
        return result

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
