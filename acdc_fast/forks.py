"""Forks that wait for numpy's BLAS.

OpenBLAS ends its threads before a process forks. Where another Python thread computes with them at that moment, the
fork can wait for ever (seen with 0.3.31, in the parent and in the child). So a fork waits until none of our own
computations is in BLAS; what other code computes is not seen here.
"""

from __future__ import annotations

import os
import threading

_changed = threading.Condition()
_inside: list[int] = []  # a thread's number for each computation that it is in
_forks = 0  # waiting or going on


class held_off:
    """While it is open, `os.fork` in another thread waits; it waits itself for a fork that has begun."""

    def __enter__(self) -> None:
        with _changed:
            while _forks and threading.get_ident() not in _inside:
                _changed.wait()
            _inside.append(threading.get_ident())

    def __exit__(self, *error: object) -> None:
        with _changed:
            _inside.remove(threading.get_ident())
            _changed.notify_all()


def _before() -> None:
    global _forks
    _changed.acquire()  # held across the fork
    _forks += 1
    while any(thread != threading.get_ident() for thread in _inside):
        _changed.wait()


def _after_in_parent() -> None:
    global _forks
    _forks -= 1
    _changed.notify_all()
    _changed.release()


def _after_in_child() -> None:
    global _forks
    _forks = 0  # other threads that were about to fork are gone
    _changed.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
