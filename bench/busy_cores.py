"""Are all CPUs busy while `Model.align` works through a list of photo files? And what runs while one of them is idle?

    python bench/busy_cores.py PHOTOS.tar [--weights acdc-w16-fast] [--rounds 3] [--small 600] [--large 200]

The files are made as in many_photos.py: the tar's pictures as they are (``small``), or enlarged to 640 pixels
(``large``). Reading and decoding are part of the call. For each kind and round:

- busy: CPU time of the process ÷ (time of the clock × CPUs). It needs a machine that does nothing else.
- wanted: mean over samples of min(threads that run or wait for a CPU, CPUs) ÷ CPUs. Other work on the machine changes
  it little: a thread that waits for a CPU counts. Another process takes the samples, every 2 ms.
- beneath it, what the caller's thread did in the samples in which fewer threads than CPUs had work.
- CPU time of each stage, the network's with all of its threads. What is left is Python around the stages.

Target: at least 90 %.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections import Counter
from pathlib import Path

import numpy as np
from many_photos import written
from stages import Span, recorded

from acdc_fast import Model

EVERY = 0.002


def watch(process: int) -> None:
    """Prints the clock and the number of threads in state R, until it is ended."""
    tasks = f"/proc/{process}/task"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        running = 0
        for task in os.listdir(tasks):
            try:
                with open(f"{tasks}/{task}/stat", "rb") as file:
                    running += file.read().rpartition(b") ")[2][:1] == b"R"
            except OSError:
                pass  # the thread has ended
        print(f"{time.perf_counter():.6f} {running}", flush=True)
        time.sleep(EVERY)


def stage_of(spans: list[Span], thread: int) -> list[tuple[float, str]]:
    """(start, stage) of this thread from each moment on, ordered. Between the stages it cuts crops and reads out."""
    found = [(-np.inf, "beside the network")]
    for span in sorted((s for s in spans if s.thread == thread), key=lambda s: s.start):
        found += [(span.start, span.stage), (span.end, "beside the network")]
    return found


def native_seconds() -> float:
    """CPU seconds of this process's threads that Python did not start: the network's."""
    known, ticks = {thread.native_id for thread in threading.enumerate()}, 0
    for task in os.listdir("/proc/self/task"):
        if int(task) not in known:
            with open(f"/proc/self/task/{task}/stat", "rb") as file:
                ticks += sum(map(int, file.read().rpartition(b") ")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def once(model: Model, paths: list[Path], cpus: int) -> tuple[float, float, float, Counter[str], dict[str, float]]:
    """Seconds of the clock, busy share, wanted share, samples with idle CPUs by stage, CPU seconds by stage."""
    command = [sys.executable, __file__, "--watch", str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher, recorded() as spans:
        assert watcher.stdout is not None
        watcher.stdout.readline()  # it has begun
        start, spent, native = time.perf_counter(), time.process_time(), native_seconds()
        model.align(paths)
        spent, end, native = time.process_time() - spent, time.perf_counter(), native_seconds() - native
        watcher.terminate()
        pairs = [line.split() for line in watcher.stdout.read().splitlines() if line.count(" ") == 1]
    samples = [(float(at), int(running)) for at, running in pairs if start <= float(at) <= end]
    wanted = float(np.mean([min(running, cpus) for _, running in samples])) / cpus
    stages = stage_of(spans, threading.get_ident())
    idle = Counter(stages[bisect_right(stages, (at, "~")) - 1][1] for at, running in samples if running < cpus)
    total = sum(idle.values())
    shares = Counter({stage: count for stage, count in idle.items() if total})
    cpu = {stage: sum(s.cpu for s in spans if s.stage == stage) for stage in ("read", "find", "network")}
    cpu["network"] += native
    cpu["rest"] = spent - sum(cpu.values())
    shares["all samples"] = len(samples)
    return end - start, spent / (end - start) / cpus, wanted, shares, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tar", type=Path, nargs="?")
    parser.add_argument("--weights", default="acdc-w16-fast")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", type=int, default=600, help="pictures as they are; 0: none")
    parser.add_argument("--large", type=int, default=200, help="pictures of 640 pixels; 0: none")
    parser.add_argument("--watch", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.watch:
        watch(args.watch)
    if args.tar is None:
        parser.error("name the tar of pictures")
    cpus, model = len(os.sched_getaffinity(0)), Model.from_pretrained(args.weights)
    print(f"{model!r}, {cpus} CPUs")
    with tempfile.TemporaryDirectory() as scratch:
        for kind, count, longest in (("small", args.small, None), ("large", args.large, 640)):
            if not count:
                continue
            paths = written(args.tar, Path(scratch) / kind, count, longest)
            model.align(paths[:32])  # warms up
            for _ in range(args.rounds):
                seconds, busy, wanted, idle, cpu = once(model, paths, cpus)
                every = idle.pop("all samples")
                parts = ", ".join(f"{stage} {count / every:.1%}" for stage, count in idle.most_common())
                own = ", ".join(f"{stage} {1e3 * spent / len(paths):.2f}" for stage, spent in cpu.items())
                print(f"{kind}: {len(paths)} pictures, {len(paths) / seconds:.1f} a second; busy {busy:.0%}, "
                      f"wanted {wanted:.0%}; samples with an idle CPU, by what the caller's thread did: "
                      f"{parts or 'none'}; CPU ms a picture: {own}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
