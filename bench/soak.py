"""Many faces through `Model` and `Model.align`: does memory stay flat, does the speed stay the same?

    python bench/soak.py --faces 1000000

Batches and pictures are of random sizes. A small network with random weights is taken, so that everything around the
network is worked hardest. A share of the pictures goes through the detector. Speed is counted by the time of the CPU,
because other work on the machine changes the clock's. Ends with code 1 where memory grows by more than 1 % after the
first tenth, or where the last tenth is slower than the first by more than 5 %.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.paths import PHOTO
from helpers.small import small_weights

from acdc_fast import Model

PARTS = 10


def resident() -> float:
    """MiB that the process holds."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status names no VmRSS")


def crops(model: Model, rng: np.random.Generator) -> int:
    """Faces of one call of the model on crops."""
    count, side = int(rng.integers(1, 65)), int(rng.choice([32, 40, 64]))
    model(rng.random((count, 1, side, side), np.float32))
    return count


def boxes(model: Model, rng: np.random.Generator) -> int:
    """Faces of a list of pictures with boxes."""
    pictures, given = [], []
    for _ in range(int(rng.integers(1, 17))):
        height, width = rng.integers(40, 700, 2)
        pictures.append(np.broadcast_to(rng.integers(0, 256, 3).astype(np.uint8), (height, width, 3)))
        corner = rng.uniform(0, 20, (int(rng.integers(0, 9)), 2))
        given.append(np.concatenate([corner, corner + rng.uniform(5, 200, corner.shape)], 1))
    return sum(map(len, model.align(pictures, boxes=given)))


def found(model: Model, rng: np.random.Generator) -> int:
    """Faces of a photograph of a random size, searched."""
    with Image.open(PHOTO) as photo:
        side = int(rng.integers(100, 500))
        return len(model.align(photo.convert("RGB").crop((100, 20, 420, 340)).resize((side, side))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--faces", type=int, default=1_000_000)
    wanted = parser.parse_args().faces
    model = Model(small_weights(width=4, stages=1), resolution=32)
    rng = np.random.default_rng(0)
    ways: list[tuple[Callable[[Model, np.random.Generator], int], int]] = [(crops, 4), (boxes, 4), (found, 1)]
    order = [way for way, share in ways for _ in range(share)]
    done, memory, speed = 0, [resident()], []
    for part in range(PARTS):
        began, before, calls = time.process_time(), done, 0
        while done < wanted * (part + 1) // PARTS:
            done += order[calls % len(order)](model, rng)
            calls += 1
        speed.append((done - before) / (time.process_time() - began))
        memory.append(resident())
        print(f"{done} faces: {memory[-1]:.1f} MiB, {speed[-1]:.0f} faces for each second of CPU", flush=True)
    grown, slower = max(memory[2:]) / memory[1] - 1, 1 - speed[-1] / speed[0]
    print(f"memory after the first tenth: at most {100 * grown:+.2f} %; last tenth slower by {100 * slower:+.1f} %")
    return int(grown > 0.01 or slower > 0.05)


if __name__ == "__main__":
    sys.exit(main())
