"""The host's part of a launch: device, block sizes, and what Triton's interpreter needs instead."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch
from torch import Tensor

from . import configs, interpreted, tiles
from .tiles import cdiv as cdiv


def power(n: int, least: int = 16) -> int:
    """Smallest power of two that holds n. 16 is the smallest side of a tl.dot."""
    return max(least, 1 << (n - 1).bit_length())


def on(x: Tensor) -> AbstractContextManager[object]:
    """Launches on the device of ``x``, whichever device is current."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


@cache
def family(device: torch.device) -> str:
    """Key of `configs`: the GPU family of a device. The interpreter uses sm_80's blocks."""
    if device.type != "cuda":
        return "sm_80"
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip is not None:
        return "gfx942"
    return {8: "sm_80", 9: "sm_90"}.get(properties.major, "sm_100" if properties.major >= 10 else "sm_80")


@cache
def processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def config(kernel: str, x: Tensor) -> configs.Config:
    return configs.of(kernel, family(x.device), x.dtype)


def dot_dtype(x: Tensor) -> torch.dtype:
    """Type of tl.dot's operands for storage ``x``: float32 in the interpreter, whose bfloat16 dot is wrong."""
    return torch.float32 if interpreted() else x.dtype


def precision(x: Tensor) -> str:
    """Three TF32 products give float32 accuracy on NVIDIA's matrix units. AMD's units have float32."""
    return "ieee" if family(x.device) == "gfx942" or interpreted() else "tf32x3"


def near(embedding: Tensor) -> Tensor:
    """``embedding``, or a copy if one of its rows spans 2³¹ elements. The geometry kernels have no registers to spare,
    so they count the offset in a row in 32 bits. All other offsets are 64-bit."""
    return embedding if embedding.shape[3] * embedding.stride(3) < 2**31 else embedding.contiguous()


def tile_of(embedding: Tensor, block: int) -> tuple[int, int]:
    """Rows and columns of a one-pass program's tile of this embedding. ``block``: columns of one step."""
    b, _, h, w = embedding.shape
    return tiles.tile(h, w, b, processors(embedding.device), block)


def strip_rows(height: int, batch: int, device: torch.device) -> int:
    """Rows of a gradient program, 2 to 8: so few that each processor has a program or two."""
    programs = cdiv(4 * processors(device) // 3, batch) if device.type == "cuda" else 1
    return max(2, min(8, cdiv(height, programs)))
