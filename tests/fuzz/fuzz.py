"""Runs a target on many inputs: ``python tests/fuzz/fuzz.py images --inputs 5000``.

Inputs are changed seeds. One that takes a step through the readers' Python code that none took before (arcs.py)
becomes a seed itself, and so does one that ends in a way not seen before: another error from another line, another
message. They run in a child process: a crash, a hang and an input that takes too much memory are findings like an error
that is not the package's own. `--out` keeps the inputs of findings.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import mmap
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from arcs import Arcs
from mutate import mutated
from targets import ALLOWED, TARGETS

SECONDS = 20  # of the processor, of one input
WAIT = 600  # of the clock: paused by others, or asleep
MEMORY = 1 << 30  # bytes beyond what the process holds before the first input
CHUNK = 500  # inputs of a child
LONGEST = 1200  # characters of a message: acdc_fast.errors.LONGEST and its dots
LEARNED = 500  # seeds that are kept beside the first ones


class Findings:
    def __init__(self, folder: Path | None) -> None:
        self.folder, self.seen = folder, dict[str, dict[str, Any]]()

    def add(self, kind: str, told: str, number: int, data: bytes) -> None:
        entry = self.seen.setdefault(kind, {"told": told[-3000:], "count": 0, "first": number, "bytes": len(data)})
        entry["count"] += 1
        if self.folder and entry["count"] == 1:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{number}.input").write_bytes(data)
            (self.folder / f"{number}.txt").write_text(f"{kind}\n{told}\n", encoding="utf-8", errors="replace")


def outcome(target: Any, data: bytes, path: Path) -> tuple[str, str, bool]:
    """How an input ended: a name for it (numbers left out), what is told of it, whether it is a finding."""
    try:
        target.run(data, path)
        return "a result", "", False
    except ALLOWED as error:
        message = str(error)
        wrong = len(message) > LONGEST or "\n" in message or not message.isprintable()
        line = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} {Path(line.filename).name}:{line.lineno} "
        return kind + re.sub(r"[^a-zA-Z ]+|'[^']*'", "", message)[:80], f"an unfit message: {message!r}", wrong
    except BaseException as error:
        line = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} at {Path(line.filename).name}:{line.lineno}"
        return kind, "".join(traceback.format_exception(error)), True


def child(
    target: Any, seeds: list[bytes], arcs: Arcs, numbers: range, seed: int, at: mmap.mmap, pipe: int, path: Path
) -> None:
    """Runs inputs; writes the number of each before it begins, and one line of JSON of each that is new to it."""
    faulthandler.enable()
    warnings.simplefilter("ignore")  # Pillow's, of every third picture
    known = set[str]()
    with os.fdopen(pipe, "w") as out:
        for number in numbers:
            data = mutated(seeds, random.Random(seed * 1_000_003 + number), target.longest)
            at[:8] = number.to_bytes(8, "little")
            limit_time(SECONDS, WAIT)
            with arcs:
                kind, told, wrong = outcome(target, data, path)
            limit_time(0, 0)
            if wrong or kind not in known or arcs.fresh:
                known.add(kind)
                out.write(json.dumps([number, kind, told, wrong, arcs.fresh, data.hex()]) + "\n")
                out.flush()


def limit_time(seconds: float, wait: float) -> None:
    """Of the processor, and of the clock: one that waits for ever uses no processor."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, wait)


def limit_memory() -> None:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    if "LD_PRELOAD" not in os.environ:  # a sanitizer reserves terabytes
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def fuzz(name: str, inputs: int, seed: int, findings: Findings, seconds: float = 1e9, first: int = 0) -> dict[str, Any]:
    """Counts of how inputs ended. A pass is repeatable where it is begun anew, chunks in their order."""
    target, begun, kinds = TARGETS[name], time.monotonic(), dict[str, int]()
    seeds = target.seeds()
    target_first, arcs = len(seeds), Arcs(set())
    at, folder = mmap.mmap(-1, 8), tempfile.TemporaryDirectory()
    path, number = Path(folder.name) / "input", first
    target.run(seeds[0], path)  # a seed is good; and imports happen before the fork
    for good in seeds:
        with arcs:
            outcome(target, good, path)
    while number < first + inputs and time.monotonic() - begun < seconds:
        numbers = range(number, min(number + CHUNK, first + inputs))
        read, write = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(read)
            limit_memory()
            child(target, seeds, arcs, numbers, seed, at, write, path)
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as lines:
            for line in lines:
                which, kind, told, wrong, fresh, data = json.loads(line)
                if (fresh or kind not in kinds) and len(seeds) < target_first + LEARNED:
                    seeds.append(bytes.fromhex(data))
                kinds[kind] = kinds.get(kind, 0) + 1
                arcs.known.update(fresh)
                if wrong:
                    findings.add(f"{name}: {kind}", told, which, bytes.fromhex(data))
        status = os.waitpid(process, 0)[1]
        number = numbers.stop
        if status:
            struck = int.from_bytes(at[:8], "little")
            how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"status {status >> 8}"
            how = f"no end within {SECONDS} s of the processor" if how == "SIGPROF" else how
            how = f"no end within {WAIT} s" if how == "SIGALRM" else how
            data = mutated(seeds, random.Random(seed * 1_000_003 + struck), target.longest)
            findings.add(f"{name}: {how}", how, struck, data)
            number = struck + 1
    folder.cleanup()
    return {"target": name, "inputs": number - first, "seconds": round(time.monotonic() - begun, 1),
            "endings": len(kinds), "steps": len(arcs.known), "learned": len(seeds) - target_first}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--inputs", type=int, default=5000, help="of each target")
    parser.add_argument("--seconds", type=float, default=1e9, help="at most, for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--out", type=Path, help="folder for the inputs that are findings")
    a = parser.parse_args()
    findings = Findings(a.out)
    for name in TARGETS if a.target == "all" else [a.target]:
        print(json.dumps(fuzz(name, a.inputs, a.seed, findings, a.seconds, a.first)), flush=True)
    for kind, entry in findings.seen.items():
        print(f"FINDING {kind}: {entry['count']} times, first by input {entry['first']}\n{entry['told']}", flush=True)
    return 1 if findings.seen else 0


if __name__ == "__main__":
    sys.exit(main())
