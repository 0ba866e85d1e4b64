"""Host side of every kernel: device, blocks, and what Triton's interpreter needs instead."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch
from torch import Tensor

from . import configs, interpreted


def power(n: int, least: int = 16) -> int:
    """Smallest power of two that holds n; 16 is the least side of a tl.dot."""
    return max(least, 1 << (n - 1).bit_length())


def cdiv(a: int, b: int) -> int:
    return -(-a // b)


def on(x: Tensor) -> AbstractContextManager[object]:
    """Launch on the device that holds ``x``, whichever is current."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


@cache
def family(device: torch.device) -> str:
    """Key of `configs`: the GPU family of a device; the interpreter takes sm_80's."""
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
    """Type of tl.dot's operands for storage ``x``: the interpreter's bfloat16 dot is wrong, so float32 there."""
    return torch.float32 if interpreted() else x.dtype


def precision(x: Tensor) -> str:
    """Three TF32 products give float32 accuracy on NVIDIA's matrix units; AMD's have float32 of their own."""
    return "ieee" if family(x.device) == "gfx942" or interpreted() else "tf32x3"


def strip_rows(height: int, batch: int, device: torch.device, most: int = 32) -> int:
    """Rows of a program: as many as leave each processor a program or two, for each reads halos and weights."""
    programs = cdiv(4 * processors(device) // 3, batch) if device.type == "cuda" else 1
    return max(2, min(most, cdiv(height, programs)))
