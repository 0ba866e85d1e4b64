"""Damage within a film: frames that the decoder guessed or gave up, and places where frames are missing."""

from __future__ import annotations

from collections import Counter
from typing import Any

#: A gap counts in a film whose frames follow each other evenly: at least so many steps, all but so many of them within
#: so many milliseconds of the usual one. Elsewhere a long step may be meant.
STEPS, UNEVEN, EVEN = 24, 3, 2
#: It is at least this long: milliseconds, and usual steps.
GAP, TIMES = 200, 4


class Damage:
    """Notes each frame and each error of one film; `told` then says what was wrong."""

    def __init__(self) -> None:
        self._lost = self._guessed = self._torn = 0
        self._steps: Counter[int] = Counter()  # milliseconds; few different ones, however long the film
        self._last: float | None = None
        self._gap = (0.0, 0.0)  # from, to: seconds

    def add_packet(self, packet: Any) -> None:
        self._torn += bool(packet.size and packet.is_corrupt)  # the container misses a part of it

    def add_error(self) -> None:
        """The decoder refused a part of the film."""
        self._lost += 1

    def add_frame(self, frame: Any) -> None:
        self._guessed += bool(frame.is_corrupt)
        if frame.time is None:
            return
        if self._last is not None:
            self._steps[round(1000 * (frame.time - self._last))] += 1
            if frame.time - self._last > self._gap[1] - self._gap[0]:
                self._gap = self._last, frame.time
        self._last = frame.time

    def told(self) -> str | None:
        """What the user is told, after the film's name; None where nothing is known to be wrong."""
        parts = [
            f"{count} {'frame is' if count == 1 else 'frames are'} {what}"
            for count, what in ((self._lost, "lost"), (max(self._guessed, self._torn), "damaged")) if count
        ]  # fmt: skip
        if self._is_gap():
            parts.append("there are no frames from {:.2f} to {:.2f} seconds".format(*self._gap))
        return "; ".join(parts) or None

    def _is_gap(self) -> bool:
        count, longest = self._steps.total(), 1000 * (self._gap[1] - self._gap[0])
        if count < STEPS:
            return False
        usual = self._steps.most_common(1)[0][0]
        uneven = sum(n for step, n in self._steps.items() if abs(step - usual) > EVEN)
        return uneven <= UNEVEN and longest >= max(GAP, TIMES * usual)
