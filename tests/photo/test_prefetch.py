"""Work ahead of its use: in order, bounded, errors in their turn."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from helpers.patience import PATIENCE

from acdc_fast.photo.prefetch import Pause, prefetch


def test_in_order_whatever_ends_first() -> None:
    def work(i: int) -> int:
        time.sleep(0.002 * (7 - i % 8))
        return i * i

    assert list(prefetch(work, range(40), 3)) == [i * i for i in range(40)]
    assert list(prefetch(work, [], 3)) == []


def test_several_at_a_time_and_no_more() -> None:
    """Two calls run at the same time. For one result, only three items are taken from the source."""
    taken, meet = [], threading.Barrier(2, timeout=PATIENCE)

    def source() -> Iterator[int]:
        for i in range(6):
            taken.append(i)
            yield i

    def work(i: int) -> int:
        meet.wait()  # ends only where two work side by side
        return i

    results = prefetch(work, source(), 2)
    assert taken == []
    assert next(results) == 0 and taken == [0, 1, 2]
    assert list(results) == [1, 2, 3, 4, 5]


def test_an_error_comes_in_its_turn() -> None:
    def work(i: int) -> int:
        if i == 3:
            raise ValueError("three")
        return i

    results = prefetch(work, range(9), 4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_an_error_of_the_source_comes_after_what_was_before() -> None:
    def source() -> Iterator[int]:
        yield from (0, 1)
        raise OSError("torn")

    results = prefetch(lambda i: i, source(), 4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="torn"):
        next(results)


def test_what_is_left_alone_ends_its_threads() -> None:
    before = threading.active_count()
    results = prefetch(lambda i: i, range(100), 3)
    next(results)
    assert threading.active_count() > before
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_more_lie_ready_while_there_is_room() -> None:
    """Nobody asks for a second result, yet `ahead` more are computed; large ones only until the room is full."""
    began: list[int] = []

    def work(i: int) -> int:
        began.append(i)
        return 10

    def begun_after_the_first(room: int, wanted: int) -> list[int]:
        began.clear()
        results = prefetch(work, range(50), 2, ahead=6, size=lambda result: result, room=room)
        assert next(results) == 10
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and len(began) < wanted:
            time.sleep(0.01)
        time.sleep(0.2)  # for more that would begin
        begun = sorted(began)
        assert list(results) == [10] * 49  # not closed: its threads may wait for room (see the test below)
        return begun

    assert begun_after_the_first(room=1000, wanted=9) == list(range(9))
    # The next three may always begin: 1, 2, 3. Two of them fill the room, so a fourth waits.
    assert begun_after_the_first(room=15, wanted=4) == [0, 1, 2, 3]


CLOSED = """
import threading, time
from acdc_fast.photo.prefetch import Pause, prefetch
began = []
def work(i):
    began.append(i)
    return i
results = prefetch(work, range(1, 100), 2, ahead=8, size=lambda result: result, room=0)
assert [next(results) for _ in range(5)] == [1, 2, 3, 4, 5]
while len(began) < 8:
    time.sleep(0.01)
time.sleep(0.3)  # both threads wait for room now
results.close()
assert threading.active_count() == 1
"""


def test_work_that_waits_for_room_ends_with_the_caller() -> None:
    """In a process of its own: a thread that is not woken would hold up Python's end, too."""
    done = subprocess.run([sys.executable, "-c", CLOSED], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


def test_work_that_waits_for_room_goes_on_when_there_is_some() -> None:
    assert list(prefetch(lambda i: i, range(1, 30), 2, ahead=8, size=lambda result: result, room=0)) == [*range(1, 30)]


def test_nothing_begins_in_a_pause() -> None:
    """Several may hold it. What waits begins when the last lets go, also when the block ends with an error."""
    pause, began = Pause(), threading.Semaphore(0)

    def work(i: int) -> int:
        began.release()
        return i

    results = prefetch(work, range(12), 2, ahead=4, pause=pause)
    assert next(results) == 0
    for _ in range(7):  # the first, two threads' and four ahead
        assert began.acquire(timeout=PATIENCE)
    with pause.held():
        with pytest.raises(KeyError), pause.held():
            raise KeyError
        threads = threading.Thread(target=lambda: [next(results) for _ in range(2)])
        threads.start()  # they lie ready; two more are wanted and may not begin
        threads.join(PATIENCE)
        assert not threads.is_alive() and not began.acquire(timeout=0.3)
    assert began.acquire(timeout=PATIENCE) and began.acquire(timeout=PATIENCE)
    assert list(results) == [*range(3, 12)]


def test_closing_in_a_pause_does_not_wait_for_its_end() -> None:
    pause, before = Pause(), threading.active_count()
    results = prefetch(lambda i: i, range(100), 2, ahead=4, pause=pause)
    next(results)
    with pause.held():
        results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
