"""Many faces through `Model` and `Model.align`: does memory stay flat, does the speed stay the same?

    python bench/soak.py --faces 1000000

Batches and pictures are of random sizes. A small network with random weights is taken, so that everything around the
network is worked hardest. A share of the pictures goes through the detector. All runs on one thread.

A machine is seldom idle, so both figures are told apart from what is not ours:

* Speed is counted by the time of the CPU, which other work and the clock's speed change too. So every eighth round of
  calls is done again, at once, by a young process, which a tenth of the way later is replaced by another. Time of the
  young one over time of the old one, for the same rounds, tells whether age alone makes a process slower.
* Memory is read before and after glibc's ``malloc_trim(0)``, which gives back what the allocator holds but nobody uses.
  What remains is what is kept. Linux with glibc alone.

Ends with code 1 where what is kept grows by more than 1 % after the first tenth, or where the last tenth, measured by
the young process, is slower than the first by more than 5 %.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.paths import PHOTO
from helpers.small import small_weights

from acdc_fast import Model

PARTS, AGAIN = 10, 8


def resident() -> float:
    """MiB that the process holds."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status names no VmRSS")


def kept() -> float:
    """MiB that the process holds once the allocator gave back what is free."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return resident()


def crops(model: Model, rng: np.random.Generator) -> int:
    """Faces of one call of the model on crops."""
    count, side = int(rng.integers(1, 65)), int(rng.choice([32, 40, 48]))
    model(rng.random((count, 1, side, side), np.float32))
    return count


def boxes(model: Model, rng: np.random.Generator) -> int:
    """Faces of a list of pictures with boxes."""
    pictures, given = [], []
    for _ in range(int(rng.integers(1, 17))):
        height, width = rng.integers(40, 400, 2)
        pictures.append(np.broadcast_to(rng.integers(0, 256, 3).astype(np.uint8), (height, width, 3)))
        corner = rng.uniform(0, 20, (int(rng.integers(0, 9)), 2))
        given.append(np.concatenate([corner, corner + rng.uniform(5, 200, corner.shape)], 1))
    return sum(map(len, model.align(pictures, boxes=given)))


def found(model: Model, rng: np.random.Generator) -> int:
    """Faces of a photograph of a random size, searched."""
    with Image.open(PHOTO) as photo:
        side = int(rng.integers(100, 500))
        return len(model.align(photo.convert("RGB").crop((100, 20, 420, 340)).resize((side, side))))


def small_model() -> Model:
    return Model(small_weights(width=4, stages=1), resolution=32, threads=1)


def do(model: Model, number: int) -> tuple[int, float]:
    """The calls of one round, which its number tells: faces, seconds of the CPU."""
    rng, began = np.random.default_rng(number), time.process_time()
    faces = sum(way(model, rng) for way in (*[crops, boxes] * 4, found))
    return faces, time.process_time() - began


class Young:
    """A new process that does a round when it is asked to."""

    def __enter__(self) -> Young:
        command = [sys.executable, __file__, "--young"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.do(0)
        return self

    def do(self, number: int) -> float:
        """Seconds of its CPU for this round."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{number}\n")
        return float(self.process.stdout.readline())

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def serve() -> int:
    """The young process: a number in, seconds out."""
    model = small_model()
    for line in sys.stdin:
        print(do(model, int(line))[1], flush=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--faces", type=int, default=1_000_000)
    parser.add_argument("--young", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.young:
        return serve()
    model, done, number = small_model(), 0, 0
    memory, relative = [], []
    print("faces | MiB | MiB kept | faces for each second of CPU | speed relative to a young process")
    for part in range(PARTS):
        before, spent, shared, young = done, 0.0, 0.0, 0.0
        with Young() as other:
            while done < options.faces * (part + 1) // PARTS:
                number += 1
                faces, seconds = do(model, number)
                done, spent = done + faces, spent + seconds
                if number % AGAIN == 0:
                    shared, young = shared + seconds, young + other.do(number)
        held = resident()
        memory.append(kept())
        relative.append(young / shared)
        speed = (done - before) / spent
        print(f"{done} | {held:.1f} | {memory[-1]:.1f} | {speed:.0f} | {relative[-1]:.3f}", flush=True)
    grown, slower = max(memory[1:]) / memory[0] - 1, 1 - relative[-1] / relative[0]
    print(f"kept after the first tenth: at most {100 * grown:+.2f} %; last tenth slower by {100 * slower:+.1f} %")
    return int(grown > 0.01 or slower > 0.05)


if __name__ == "__main__":
    sys.exit(main())
