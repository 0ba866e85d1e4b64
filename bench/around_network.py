"""What `Model.align` costs beside its network and its detector: one face in a photo of 1920×1080, already decoded.

    python bench/around_network.py [--weights acdc-w16-fast acdc-w32] [--threads 1 2] [--calls 60] [--detector both]

The whole call, the detector and each run of the network are timed within the same call, so what is left is the time
around them: crops, a second look, read-out, refinement, pose. Medians and quartiles of the clock, and the median of the
CPU time of all threads, which other work on the machine disturbs less. Target: at most 2 ms.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image
from stages import recorded

from acdc_fast import Model

PORTRAIT = Path(__file__).parents[1] / "examples" / "astronaut.jpg"
WIDTH, HEIGHT = 1920, 1080


def photo() -> np.ndarray:
    """(1080, 1920, 3) uint8: the portrait on its own enlarged and darkened middle."""
    portrait = Image.open(PORTRAIT).convert("RGB")
    behind = portrait.resize((8, 8), Image.Resampling.BOX).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    behind.paste(portrait, ((WIDTH - portrait.width) // 2, (HEIGHT - portrait.height) // 2))
    return np.asarray(behind)


def measured(model: Model, picture: np.ndarray, calls: int, detector: str) -> dict[str, list[float]]:
    """Milliseconds of each call: whole, detector, network, beside them; and of CPU, beside them."""
    found: dict[str, list[float]] = {name: [] for name in ("whole", "find", "network", "beside", "beside, CPU")}
    for number in range(calls + 5):
        with recorded() as spans:
            start, cpu = time.perf_counter(), time.thread_time()
            faces = model.align(picture, detector=detector)
            cpu, whole = time.thread_time() - cpu, time.perf_counter() - start
        assert len(faces) == 1, f"{len(faces)} faces, not 1: no figure"
        if number < 5:  # warms up
            continue
        parts = {stage: sum(s.seconds for s in spans if s.stage == stage) for stage in ("find", "network")}
        own = cpu - sum(s.cpu for s in spans if s.stage in parts)
        values = (whole, *parts.values(), whole - sum(parts.values()), own)
        for name, value in zip(found, values, strict=True):
            found[name].append(1e3 * value)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", nargs="+", default=["acdc-w16-fast", "acdc-w32"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--detector", default="both")
    args = parser.parse_args()
    picture = photo()
    print(f"one face in {WIDTH}×{HEIGHT}, detector {args.detector}; ms, median (quartiles) of {args.calls} calls")
    print("| | threads | whole call | detector | network | beside them | CPU time beside them |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for weights in args.weights:
        for threads in args.threads:
            model = Model.from_pretrained(weights, threads=threads)
            cells = []
            for values in measured(model, picture, args.calls, args.detector).values():
                low, middle, high = np.percentile(values, [25, 50, 75])
                cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
            print(f"| {weights} | {threads} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
