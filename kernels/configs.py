"""Block sizes and warps of each kernel and GPU family. They are fixed here, so no process tunes again.

Most were chosen from what compiles: no spill, most programs resident (tests/kernels/registers.json). Half precision's
"geometry_transfer.backward" was timed (docs/notes/gpu.md). On a GPU, `python bench/gpu_page.py` times `CANDIDATES` and
prints a table; its fastest rows belong here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Config:
    """Pixels of a block, maps (or channels) of a block, warps of a program, loads in flight in a loop."""

    pixels: int
    maps: int = 64
    warps: int = 4
    stages: int = 1


HALF = {
    "spatial_softmax": Config(pixels=1024),
    "attention_mask": Config(pixels=256, maps=8, stages=3),
    "dual_fusion": Config(pixels=256),
    "dual_fusion_conv1x1": Config(pixels=64, stages=2),
    "dual_fusion_conv1x1.backward": Config(pixels=32, warps=8),
    "geometry_transfer": Config(pixels=32, maps=256, warps=8),
    "geometry_transfer.backward": Config(pixels=32),
    "cascade_transition": Config(pixels=32),
}
#: Products of three TF32 parts need more registers and shared memory.
FLOAT32 = HALF | {
    "dual_fusion_conv1x1": Config(pixels=32, warps=8),
    "dual_fusion_conv1x1.backward": Config(pixels=16, maps=32, warps=8),
    "geometry_transfer": Config(pixels=32, maps=64, warps=8),
    "geometry_transfer.backward": Config(pixels=16, maps=32, warps=8),
    "cascade_transition": Config(pixels=32, warps=8),
}
#: With four warps of 64 threads each thread may use 512 registers, with eight only 256.
AMD = {
    "spatial_softmax": Config(pixels=1024, warps=2),
    "dual_fusion_conv1x1.backward": Config(pixels=16),
}
TABLE = {
    "sm_80": (HALF | {"cascade_transition": Config(pixels=64, warps=8)}, FLOAT32),
    "sm_90": (HALF, FLOAT32),
    "sm_100": (HALF, FLOAT32 | {"geometry_transfer": Config(pixels=16, maps=64, warps=8)}),
    "gfx942": (
        HALF | AMD,
        FLOAT32 | AMD | {
            "dual_fusion_conv1x1": Config(pixels=32),
            "geometry_transfer.backward": Config(pixels=32),
            "cascade_transition": Config(pixels=16),
        },
    ),
}  # fmt: skip

#: Blocks that may be faster in half precision. A benchmark on a GPU times them; tests compile each for every family.
#: float32 has none.
CANDIDATES = {
    "spatial_softmax": (Config(512), Config(1024), Config(2048, warps=8)),
    "attention_mask": (Config(128, 8), Config(256, 8, stages=3), Config(256, 16), Config(512, 8, stages=3)),
    "dual_fusion": (Config(128), Config(256), Config(512)),
    "dual_fusion_conv1x1": (Config(32), Config(64, stages=2), Config(128, warps=8, stages=2)),
    "geometry_transfer": (Config(32, 256, warps=8), Config(32, 128, warps=8), Config(16, 256, warps=8)),
    "geometry_transfer.backward": (Config(32), Config(32, warps=8), Config(16)),
    "cascade_transition": (Config(32), Config(32, warps=8), Config(64, warps=8)),
}
#: Candidates that spill registers, by family and kernel.
UNFIT = {
    ("sm_80", "cascade_transition", Config(32)),
    ("sm_80", "geometry_transfer", Config(32, 128, warps=8)),
    ("gfx942", "cascade_transition", Config(32, warps=8)),
    ("gfx942", "cascade_transition", Config(64, warps=8)),
}


def of(kernel: str, family: str, dtype: torch.dtype) -> Config:
    half, single = TABLE[family]
    return (single if dtype == torch.float32 else half)[kernel]


def candidates(kernel: str, family: str, dtype: torch.dtype) -> list[Config]:
    """Blocks worth timing for this kernel: the candidates without those that spill."""
    if dtype == torch.float32:
        return []
    return [c for c in CANDIDATES.get(kernel, ()) if (family, kernel, c) not in UNFIT]
