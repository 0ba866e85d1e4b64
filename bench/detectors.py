"""Times the detectors in one run, in turn, on one thread.

    python bench/detectors.py PHOTO [--repeats 15] [--weights acdc-w16-fast]

PHOTO is cut to a square and pasted, half as high as the picture, into grey pictures of 640×640 and 4000×3000. Printed
are the median and half the distance between the quartiles: for finding alone, and for photo to landmarks and pose with
the weights. Times are CPU time of one thread, which other work on the machine disturbs little. ACDC_ISA sets the
instruction set of our code; the library always uses the one that it was compiled for.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

from acdc_fast import Model, _native
from acdc_fast.photo.detection import Search, detect

SIZES = ((640, 640), (4000, 3000))


def canvas(photo: Image.Image, size: tuple[int, int]) -> np.ndarray:
    picture = Image.new("RGB", size, (128, 128, 128))
    side = min(size) // 2
    picture.paste(photo.resize((side, side), Image.Resampling.LANCZOS), (size[0] // 3, size[1] // 4))
    return np.asarray(picture)


def in_turn(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, np.ndarray]:
    """CPU seconds (repeats,) of each, one after the other in every round."""
    for task in tasks.values():
        task()
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            seconds[name].append(time.process_time() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photo")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--weights", default="acdc-w16-fast")
    args = parser.parse_args()
    photo = Image.open(args.photo).convert("RGB")
    photo = photo.crop((0, 0, min(photo.size), min(photo.size)))
    model = Model.from_pretrained(args.weights, threads=1)
    print(f"instruction set {_native.isa()}")
    for size in SIZES:
        picture = canvas(photo, size)
        tasks: dict[str, Callable[[], object]] = {}
        for name in ("library", "own", "both"):
            tasks[f"{name}: find"] = partial(detect, picture, Search(detector=name), 1)
            tasks[f"{name}: find and align"] = partial(model.align, picture, detector=name)
            if max(size) > 1000:
                tasks[f"{name}: find from 30 pixels"] = partial(detect, picture, Search(detector=name, min_size=30), 1)
        for name, seconds in in_turn(tasks, args.repeats).items():
            low, middle, high = 1e3 * np.percentile(seconds, [25, 50, 75])
            print(f"{size[0]}×{size[1]} {name:28s} {middle:8.1f} ± {(high - low) / 2:.1f} ms", flush=True)


if __name__ == "__main__":
    main()
