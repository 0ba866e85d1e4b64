"""Block sizes and warps of each kernel and GPU family: shipped, never tuned again in a process.

Chosen from compiled resources (no spill, registers, shared memory; tests/kernels/registers.json); `pytest
bench/test_gpu.py --benchmark` times `CANDIDATES` on the GPU at hand and prints the table to put here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Config:
    """Pixels of a block, maps (or channels) of a block, warps of a program, loads in flight of a loop."""

    pixels: int
    maps: int = 1
    warps: int = 4
    stages: int = 1


FAMILIES = ("sm_80", "sm_90", "sm_100", "gfx942")
KERNELS = {
    "spatial_softmax": Config(pixels=1024),
    "attention_mask": Config(pixels=256, maps=8, stages=3),
    "dual_fusion": Config(pixels=256),
    "dual_fusion_conv1x1": Config(pixels=64, stages=2),
    "dual_fusion_conv1x1.backward": Config(pixels=32, warps=8),
    "geometry_transfer": Config(pixels=32, maps=256, warps=8),
    "geometry_transfer.backward": Config(pixels=32, maps=64, warps=8),
    "cascade_transition": Config(pixels=64, maps=64, warps=8),
}


def of(kernel: str, family: str, dtype: torch.dtype) -> Config:
    return KERNELS[kernel]
