"""The bytes and operations of the GPU kernels, and the least time for them.

`python bench/gpu_model.py` prints the tables of docs/notes/gpu.md.

Bytes are those to and from device memory, with halos and partial results. Each tensor counts once, unless a kernel
reads it again. The floor of a kernel is the longest of four times: bytes over bandwidth, matrix products over the
Tensor Cores' peak, other arithmetic over the float32 peak, exponentials over the rate of the special function units.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TESTS = Path(__file__).parents[1] / "tests"


@dataclass(frozen=True)
class GPU:
    """Peak rates from the makers' data sheets. Exponentials: 16 for each clock and multiprocessor, at boost clock."""

    name: str
    bandwidth: float  # bytes / s
    matrix: float  # FLOP / s, dense, half precision
    float32: float  # FLOP / s
    exponentials: float  # 1 / s
    processors: int


GPUS = (
    GPU("A100", 2.039e12, 312e12, 19.5e12, 108 * 16 * 1.41e9, 108),
    GPU("H100", 3.35e12, 989e12, 66.9e12, 132 * 16 * 1.83e9, 132),
    GPU("H200", 4.8e12, 989e12, 66.9e12, 132 * 16 * 1.83e9, 132),
)


@dataclass(frozen=True)
class Work:
    """The work for one face at one stage."""

    read: float  # bytes
    written: float  # bytes
    matrix: float = 0  # FLOP in tl.dot, padding included
    arithmetic: float = 0  # FLOP elsewhere
    exponentials: float = 0

    @property
    def bytes(self) -> float:
        return self.read + self.written

    def floor(self, gpu: GPU, faces: int = 1) -> tuple[float, str]:
        """Least seconds for this many faces, and what limits them."""
        times = {
            "memory": self.bytes / gpu.bandwidth,
            "products": self.matrix / gpu.matrix,
            "arithmetic": self.arithmetic / gpu.float32,
            "exp": self.exponentials / gpu.exponentials,
        }
        bound = max(times, key=lambda k: times[k])
        return faces * times[bound], bound


def works(
    width: int = 64, side: int = 128, maps: int = 239, size: int = 2, tile: tuple[int, int] = (32, 64)
) -> dict[str, Work]:
    """Work by kernel. ``size``: bytes of a stored number. ``tile``: rows and columns of a one-pass kernel's program."""
    p, k = side * side, 3 * width // 4
    h, g, plane = width * p * size, maps * p * size, 4 * p  # embedding, logits, a float32 plane
    down, across = (-(-side // n) for n in tile)
    tiles, halo = down * across, (1 + 2 * (down - 1) / side) * (1 + 2 * (across - 1) / side)  # inner borders twice
    layers, stem, stats = maps * k * size + 2 * 9 * k * 4, (2 + 2 * width) * width * size, 8 * maps * 4
    padded, n = -(-maps // 64) * 64, maps * p
    dw = 2 * 2 * 9 * width * p  # both streams' depthwise convolutions
    strip = 1 + 2 * (side / 8 - 1) / side  # halo of the gradients' strips of 8 rows
    dk = k * p * size  # gradient of one stream
    return {
        "spatial_softmax": Work(g, stats, 0, 18 * n, n),
        "spatial_softmax, backward": Work(g, g, 0, 20 * n, n),
        "attention_mask": Work(2 * g, 2 * plane, 0, 6 * n, n),
        "attention_mask, backward": Work(6 * plane, g, 0, 10 * n),
        "dual_fusion": Work(h + 2 * plane, (2 + 2 * width) * p * size, 0, 3 * width * p),
        "dual_fusion, backward": Work((2 + 2 * width) * p * size + h + 2 * plane, h + 2 * plane, 0, 12 * width * p),
        "dual_fusion_conv1x1": Work(h + 2 * plane, h, 4 * width * width * p, 6 * width * p),
        "dual_fusion_conv1x1, backward": Work(2 * h + 2 * plane, h + 2 * plane, 8 * width * width * p, 12 * width * p),
        "geometry_transfer, statistics": Work(
            halo * h + tiles * (layers + stats), tiles * stats, 4 * 256 * width * p, dw + 12 * n, 256 * p
        ),
        "cascade_transition": Work(
            halo * h + tiles * (layers + stem + 8 * maps) + p * size, h,
            (padded + 64) * 2 * width * p + 4 * width * width * p,
            dw + 4 * n, padded * p,
        ),
        "geometry_transfer, backward": Work(  # per stream: gradient of its convolution, of its layers (2½ blocks), of H
            2 * (strip * dk * (1 + 2.5) + strip * dk + 2 * dk) + 7 * plane, 4 * dk, 8 * padded * width * p,
            4 * dw + 60 * n, 2 * padded * p,
        ),
    }  # fmt: skip


class _Moved(TorchDispatchMode):
    """Bytes of tensors that operators read and write. Views are free."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = function(*args, **(kwargs or {}))
        if not function.is_view and "empty" not in str(function):
            tensors = [t for t in tree_leaves((args, kwargs or {}, out)) if isinstance(t, torch.Tensor)]
            self.bytes += sum(t.untyped_storage().nbytes() for t in tensors)
        return out


def eager_bytes(size: torch.dtype = torch.float16) -> float:
    """Bytes for one face that eager moves from a U-Net to the next stem's output, width 64. Counted, not timed."""
    from acdc_fast.ops import reference

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=size, device="meta")

    embedding = empty(1, 64, 128, 128)
    depthwise, transfer = empty(2, 48, 3, 3), empty(239, 48)
    with torch.no_grad(), _Moved() as moved:
        logits = reference.geometry_logits(embedding, depthwise, transfer, 171)
        reference.spatial_softmax(logits)
        mask = reference.attention_mask(logits)
        reference.dual_fusion_conv1x1(empty(1, 1, 128, 128), embedding, mask, empty(1, 130), empty(64, 130), empty(64))
    return float(moved.bytes)


#: Float16 kernels of the occupancy table, by compiled name (tests/helpers/compile_all.py).
COMPILED = {
    "spatial_softmax": "spatial_softmax.statistics_kernel.MOMENTS",
    "spatial_softmax, backward": "spatial_softmax.gradient_kernel",
    "attention_mask": "attention_mask.mask_kernel",
    "attention_mask, backward": "attention_mask.gradient_kernel",
    "dual_fusion": "dual_fusion.fuse_kernel.last",
    "dual_fusion, backward": "dual_fusion.gradient_kernel.last",
    "dual_fusion_conv1x1": "dual_fusion_conv1x1.stem_kernel.last",
    "dual_fusion_conv1x1, backward": "dual_fusion_conv1x1.gradient_kernel.last",
    "geometry_transfer, statistics": "geometry_transfer.statistics_kernel.last",
    "cascade_transition": "cascade_transition.transition_kernel.STEM.last",
    "geometry_transfer, backward": "geometry_transfer_backward.stream_gradient_kernel.last",
}


def occupancy(facts: dict[str, int], family: str) -> tuple[int, float]:
    """Number of programs on one multiprocessor, and its warps in use as a share of 64."""
    registers = 65536 // (-(-facts["registers"] // 8) * 8 * 32 * facts["warps"])
    room = {"sm_80": 164, "sm_90": 228, "sm_100": 228}[family] * 1024
    shared = room // (facts["shared"] + 1024)
    programs = min(registers, shared, 64 // facts["warps"], 32)
    return programs, programs * facts["warps"] / 64


#: Counted kernels (tests/kernels/instructions.json) → programs for a face, at the tiles of an H100 for 32 faces.
#: The gradients' counts are of the stream of 3D points; its transfer gradient has two blocks of maps.
PROGRAMS = {
    "geometry_transfer.statistics_kernel.last": 8,
    "cascade_transition.transition_kernel.STEM.last": 8,
    "geometry_transfer_backward.stream_gradient_kernel.last": 16,
    "geometry_transfer_backward.transfer_gradient_kernel.last": 32,
    "geometry_transfer_backward.depthwise_gradient_kernel.ADD.last": 16,
}


def instructions() -> None:
    """What a face takes on each unit of an H100 if no warp ever waits: warp instructions ÷ the unit's rate."""
    sys.path.insert(0, str(TESTS))
    from helpers import sass

    counts = json.loads((TESTS / "kernels/instructions.json").read_text())["kernels"]
    gpu = next(g for g in GPUS if g.name == "H100")
    clock = gpu.exponentials / gpu.processors / 16
    print("\n| kernel | " + " | ".join(f"{unit}, M" for unit in sass.RATES) + " | 32 faces, µs | the unit | a logit |")
    print("| --- " * (len(sass.RATES) + 4) + "|")
    for kernel, programs in PROGRAMS.items():
        found = counts[f"{kernel}/sm_90"]
        warps = programs * found["warps"]
        clocks, bound = sass.clocks(found, 32 * warps)
        cells = [f"{found[unit] * warps / 1e6:.2f}" for unit in sass.RATES]
        maps = 68 if "backward" in kernel else 239
        each = found["issue"] * warps * 32 / (maps * 128 * 128)
        micro = 1e6 * clocks / gpu.processors / clock
        print(f"| {kernel.removesuffix('.last')} | " + " | ".join(cells) + f" | {micro:.0f} | {bound} | {each:.0f} |")


def main() -> None:
    table = works()
    names = " | ".join(f"{g.name} µs" for g in GPUS)
    print(f"| kernel | read MB | written MB | products GFLOP | exp M | {names} |")
    print("| --- " * (5 + len(GPUS)) + "|")
    for name, work in table.items():
        floors = [work.floor(g) for g in GPUS]
        cells = " | ".join(f"{1e6 * t:.2f} ({bound})" for t, bound in floors)
        print(f"| {name} | {work.read / 1e6:.2f} | {work.written / 1e6:.2f} | {work.matrix / 1e9:.2f} | ", end="")
        print(f"{work.exponentials / 1e6:.1f} | {cells} |")
    compiled = json.loads((TESTS / "kernels/registers.json").read_text())["kernels"]
    print("\n| kernel | warps | registers | shared KB | programs a multiprocessor | occupancy |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, kernel in COMPILED.items():
        found = [(compiled[f"{kernel}/fp16/{family}"], family) for family in ("sm_80", "sm_90")]
        held = [occupancy(facts, family) for facts, family in found]
        cells = (
            [str(f["warps"]) for f, _ in found], [str(f["registers"]) for f, _ in found],
            [f"{f['shared'] / 1024:.0f}" for f, _ in found], [str(n) for n, _ in held], [f"{x:.0%}" for _, x in held],
        )  # fmt: skip
        print(f"| {name} | " + " | ".join(a if a == b else f"{a} / {b}" for a, b in cells) + " |")  # fmt: skip
    instructions()
    h = 64 * 128 * 128 * 2
    ours = sum(table[n].bytes for n in ("geometry_transfer, statistics", "cascade_transition"))
    print(f"\none-pass kernels: {ours / h:.2f} × H; eager: {eager_bytes() / h:.1f} × H")


if __name__ == "__main__":
    main()
