"""Requests to stop, which let a run save first."""

from __future__ import annotations

import signal


class StopRequests:
    """SIGINT and SIGTERM received within the block, so that the loop can finish its update, save and end."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: list[int] = []

    def __enter__(self) -> StopRequests:
        self.before = {number: signal.getsignal(number) for number in self.SIGNALS}
        self.listen()
        return self

    def listen(self) -> None:
        """To be called now and then: a compiler that runs in this process (Triton's LLVM, seen) puts handlers of its
        own in the place of ours."""
        for number in self.SIGNALS:
            signal.signal(number, lambda received, _: self.received.append(received))

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
