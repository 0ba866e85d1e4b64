"""Steps that share a time: each has a process of its own, is cut when its share is used up, and keeps what it found.

So a step that hangs, fails, or breaks the GPU's context for its process costs the others nothing. Unused time goes to
the steps that follow.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acdc_fast.files import written_beside

#: Seconds between the end that a step is told and the moment when it is killed.
GRACE = 3.0

Row = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """``share`` of the time, relative to the shares of the steps that are still to run. ``command`` is given two more
    arguments: the file for its results, and the seconds that it may take."""

    name: str
    share: float
    command: Sequence[str]


class Results:
    """What a step found: rows of its table, and what it could not measure. Each change is saved at once."""

    def __init__(self, path: Path, seconds: float = float("inf")) -> None:
        self._path, self._end = path, time.monotonic() + seconds
        self._rows: list[Row] = []
        self._notes: list[str] = []
        self._save()

    @property
    def left(self) -> float:
        """Seconds until the step should have ended."""
        return self._end - time.monotonic()

    def row(self, **cells: Any) -> None:
        self._rows.append(cells)
        self._save()

    def replace(self, **cells: Any) -> None:
        """In place of the rows so far: for a row that grows."""
        self._rows = [cells]
        self._save()

    def note(self, text: str) -> None:
        """What was not run, and why. One line, and once."""
        line = one_line(text)
        if line not in self._notes:
            self._notes.append(line)
            self._save()

    def forget(self, text: str) -> None:
        """Takes a note back: what it says has been done."""
        if one_line(text) in self._notes:
            self._notes.remove(one_line(text))
            self._save()

    def _save(self) -> None:
        with written_beside(self._path) as beside:  # and renamed: a kill leaves the last whole file
            beside.write_text(json.dumps({"rows": self._rows, "notes": self._notes}), encoding="utf-8")


def read(path: Path) -> tuple[list[Row], list[str]]:
    """Rows and notes of a step; none if it has not begun."""
    if not path.exists():
        return [], []
    found = json.loads(path.read_text(encoding="utf-8"))
    return found["rows"], found["notes"]


def one_line(text: str, most: int = 200) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def run(
    steps: Sequence[Step],
    seconds: float,
    out: Path,
    environment: Mapping[str, str],
    after: Callable[[dict[str, str]], None],
) -> dict[str, str]:
    """Runs the steps in order. Name → how it ended: "ended after 12 s", or what went wrong, in one line. ``after`` gets
    these after each step. A step's results lie in ``out``/NAME.json, what it printed in ``out``/NAME.log."""
    end, outcomes = time.monotonic() + seconds, dict[str, str]()
    for number, step in enumerate(steps):
        left = end - time.monotonic()
        limit = left * step.share / sum(s.share for s in steps[number:])
        if limit < 2 * GRACE:
            outcomes[step.name] = "not begun: the time was used up"
        else:
            outcomes[step.name] = _one(step, limit, out, environment)
        after(outcomes)
    return outcomes


def _one(step: Step, limit: float, out: Path, environment: Mapping[str, str]) -> str:
    log, begun = out / f"{step.name}.log", time.monotonic()
    command = [*step.command, str(out / f"{step.name}.json"), f"{limit - GRACE:.1f}"]
    with open(log, "wb") as file:
        # A session of its own: compilers and workers that the step starts end with it.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=dict(environment),
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            return f"cut after {time.monotonic() - begun:.0f} s, its share of the time; what it had found is kept"
        finally:
            _end(process)
    spent = f"{time.monotonic() - begun:.0f} s"
    if code == 0:
        return f"ended after {spent}"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    return f"failed after {spent}: {one_line(last)} ({log.name} has the rest)"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the step and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
