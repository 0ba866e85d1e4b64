"""Jobs that several threads share: in order, by few threads that stay, errors, forks."""

from __future__ import annotations

import os
import threading
import time

import pytest

from acdc_fast.threads import shared


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_in_order_whatever_ends_first(threads: int) -> None:
    def work(i: int) -> int:
        time.sleep(0.001 * (7 - i % 8))
        return i * i

    assert shared(work, range(40), threads) == [i * i for i in range(40)]
    assert shared(work, [], threads) == []


def test_at_the_same_time_and_no_more_than_asked_for() -> None:
    meet, most = threading.Barrier(3, timeout=20), [0]
    running: set[int] = set()

    def work(_: int) -> None:
        running.add(threading.get_ident())
        most.append(len(running))
        meet.wait()  # ends only where three work side by side
        running.discard(threading.get_ident())
        meet.wait()

    shared(work, range(9), 3)
    assert max(most) == 3


def test_the_threads_stay() -> None:
    """New threads for each call would grow the memory by an arena now and then."""
    seen: set[threading.Thread] = set()
    meet = threading.Barrier(2, timeout=20)

    def work(_: int) -> None:
        seen.add(threading.current_thread())
        meet.wait()

    for _ in range(20):
        shared(work, range(2), 2)
    assert len(seen) == 2 and threading.current_thread() in seen


def test_an_error_is_raised_when_all_have_ended() -> None:
    for broken in (0, 1):  # by the calling thread, or by another: either may take either job
        meet = threading.Barrier(2, timeout=20)
        ended: list[int] = []

        def work(i: int, broken: int = broken, meet: threading.Barrier = meet, ended: list[int] = ended) -> None:
            if i < 2:
                meet.wait()
            if i == broken:
                raise ValueError("broken")
            time.sleep(0.05)
            ended.append(i)

        with pytest.raises(ValueError, match="broken"):
            shared(work, range(1000), 2)
        count = len(ended)
        assert count < 10
        time.sleep(0.1)
        assert len(ended) == count


def test_a_job_that_shares_jobs_itself_with_all_helpers_busy() -> None:
    def outer(i: int) -> int:
        return sum(shared(lambda j: j * i, range(10), 2))

    assert shared(outer, range(10), 2) == [45 * i for i in range(10)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    parents = set()
    meet = threading.Barrier(2, timeout=20)

    def work(_: int) -> None:
        parents.add(threading.current_thread())
        meet.wait()

    shared(work, range(2), 2)
    child = os.fork()
    if not child:
        try:
            helpers: set[threading.Thread] = set()
            together = threading.Barrier(2, timeout=10)

            def again(_: int) -> None:
                helpers.add(threading.current_thread())
                together.wait()

            shared(again, range(2), 2)
            os._exit(0 if len(helpers - parents) == 1 else 3)
        finally:
            os._exit(4)
    assert os.waitpid(child, 0)[1] == 0
