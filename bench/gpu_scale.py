"""What the steps of gpu_page.py measure: on a GPU the network's sizes, in a dry run tiny ones on the CPU."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Scale:
    """The first of several values is the one to have if time is short."""

    device: str
    rounds: int
    warmup: int
    # kernels and candidates
    width: int
    side: int
    maps: int
    split: int
    batches: tuple[int, ...]
    tried: int  # block sizes of a kernel at most
    copied: int  # bytes of the copy that shares of the bandwidth are relative to
    # whole cascades: width and faces
    crop: int
    networks: tuple[tuple[int, int], ...]
    compiled: tuple[tuple[int, int], ...]
    compiler: dict[str, Any]  # options of torch.compile
    # an update of training
    crops: int
    crop_side: int
    updates: int
    train_width: int


_FACES = [(faces, width) for faces in (32, 1, 8, 128) for width in (64, 32, 16)]
FULL = Scale(
    "cuda", 50, 5, 64, 128, 239, 171, (32, 1, 8), 99, 2**30, 128, tuple((width, faces) for faces, width in _FACES),
    tuple((width, faces) for faces, width in sorted(_FACES, key=lambda size: (size[0] not in (1, 32), -size[1]))),
    {"mode": "max-autotune"}, 64, 96, 15, 32,
)  # fmt: skip
#: torch.compile only traces: compiling for a CPU would take minutes and tell nothing of a GPU.
DRY = Scale("cpu", 1, 0, 8, 8, 7, 5, (1,), 2, 2**22, 32, ((8, 1),), ((8, 1),), {"backend": "eager"}, 1, 32, 1, 8)


def kinds(device: str) -> dict[str, str | None]:
    """Each kind of kernels, "triton" and "cuda" → why they cannot run here, or None."""
    modules = {"triton": "acdc_fast.kernels", "cuda": "acdc_fast.ops.cuda"}
    return {name: importlib.import_module(module).why_not(device, torch.float16) for name, module in modules.items()}
