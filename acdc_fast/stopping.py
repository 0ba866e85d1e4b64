"""Requests to stop, which let a run keep what is done first."""

from __future__ import annotations

import signal
import threading
from typing import Any


def stop_signals() -> list[int]:
    """Those that ask this process to stop. SIGHUP comes from a terminal that is closed; under `nohup` it is ignored,
    and does not count."""
    found = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        found.append(hangup)
    return [int(number) for number in found]


class StopRequests:
    """SIGINT, SIGTERM and SIGHUP received within the block, so that the loop can finish its step, save and end.

    Only the main thread can listen; in others the block does nothing.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self.before: dict[int, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.getsignal(number) for number in stop_signals()}
            self.listen()
        return self

    def listen(self) -> None:
        """To be called now and then: a compiler that runs in this process (Triton's LLVM, seen) puts handlers of its
        own in the place of ours."""
        for number in self.before:
            signal.signal(number, lambda received, _: self.received.append(received))

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
