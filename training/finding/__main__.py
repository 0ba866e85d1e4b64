"""Trains the detector.

    python -m acdc_fast.training.finding DATA_ROOT --backgrounds FOLDER --out FOLDER [--steps 40000]

If OUT/checkpoint.pt exists, the run goes on from there. The averaged weights go to OUT/detector.safetensors.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from acdc_fast.command_parser import Parser
from acdc_fast.detector.network import Detector, decoded
from acdc_fast.detector.weights import folded, save_detector
from acdc_fast.errors import InputError
from acdc_fast.files import make_folder
from acdc_fast.options import MOST_THREADS, check_count

from ..command_errors import errors_in_one_line
from ..loop.checkpoint import NAME, load_checkpoint, save_checkpoint
from .batches import Batches, HardPictures
from .faces import load_backgrounds, load_faces, surroundings
from .loss import detection_loss

#: The averaged weights keep this share of themselves at each step.
KEPT = 0.998


def rate(step: int, steps: int, highest: float) -> float:
    """Learning rate at a step: 200 steps of warm-up, then a cosine down to a hundredth of ``highest``."""
    return highest * min(step / 200, 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


@errors_in_one_line()
def main() -> int:
    parser = Parser(prog="python -m acdc_fast.training.finding", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--backgrounds", type=Path, required=True, help="folder of pictures without people")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=40000)
    parser.add_argument("--rate", type=float, default=2.5e-3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    check_count("--steps", args.steps, 10**9)
    check_count("--threads", args.threads, MOST_THREADS)
    if not 0 < args.rate <= 1000:
        raise InputError(f"--rate must be above 0, at most 1000, not {args.rate:g}")
    for name, folder in (("DATA_ROOT", args.root), ("--backgrounds", args.backgrounds)):
        if not folder.is_dir():
            raise InputError(f"{name} {folder}: no such folder")
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    make_folder(args.out)
    faces, backgrounds = load_faces(args.root, args.out), load_backgrounds(args.backgrounds)
    print(f"{len(faces)} faces, {len(backgrounds)} backgrounds", flush=True)
    backgrounds += surroundings(faces, 2 * len(backgrounds), np.random.default_rng(0))
    network, averaged = Detector(), Detector()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-4)
    step, checkpoint = 0, args.out / NAME
    if checkpoint.exists():
        state = load_checkpoint(checkpoint)
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    rng, hard = np.random.default_rng(step), HardPictures()
    batches = iter(torch.utils.data.DataLoader(Batches(faces, backgrounds, step), batch_size=None, num_workers=1))
    told, saved, sums = time.time(), time.time(), np.zeros(3)
    while step < args.steps:
        step += 1
        for group in optimiser.param_groups:
            group["lr"] = rate(step, args.steps, args.rate)
        pictures, labels, wanted = next(batches)
        hard.put_in(pictures, labels, rng)
        logits, boxes = decoded(network(pictures))
        hard.learn(pictures, labels, logits)
        scores, places = detection_loss(logits, boxes, labels, wanted)
        optimiser.zero_grad()
        (scores + places).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        with torch.no_grad():
            kept = min(KEPT, step / (step + 10))
            for mean, value in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
                if mean.dtype.is_floating_point:
                    mean.lerp_(value, 1 - kept)
        sums += (scores.item(), places.item(), 1)
        if time.time() - told > 30:
            means, speed = sums[:2] / sums[2], sums[2] / (time.time() - told)
            print(
                f"{step}: scores {means[0]:.3f}, boxes {means[1]:.3f}, {len(hard)} hard, {speed:.2f} steps/s",
                flush=True,
            )
            told, sums = time.time(), np.zeros(3)
        if time.time() - saved > 120 or step == args.steps:
            saved = time.time()
            state = {"network": network.state_dict(), "averaged": averaged.state_dict()}
            save_checkpoint(checkpoint, state | {"optimiser": optimiser.state_dict(), "step": step})
            save_detector(args.out / "detector.safetensors", folded(averaged.eval()), {})
    return 0


if __name__ == "__main__":
    sys.exit(main())
