"""Checks of the ops' arguments. Each error names the argument, what it must be, and what it was."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def tensor(op: str, name: str, x: Tensor, shape: Sequence[int | str]) -> None:
    """``shape``: a number must match; a letter stands for any size. Raises `InputError`."""
    if not isinstance(x, Tensor):
        raise InputError(f"{op}: {name} must be a tensor, not {type(x).__name__}")
    fits = x.dim() == len(shape) and all(isinstance(s, str) or s == n for s, n in zip(shape, x.shape, strict=True))
    if not fits:
        wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise InputError(f"{op}: {name} must have shape ({wanted}), not {tuple(x.shape)}")
    if x.dtype not in FLOATS:
        raise InputError(f"{op}: {name} must be float16, bfloat16, float32 or float64, not {x.dtype}")


def not_empty(op: str, name: str, x: Tensor, pixels: bool = True) -> None:
    """Four dimensions, none empty. ``pixels``: the op numbers a map's pixels, so they must be fewer than 2²⁴."""
    if x.dim() != 4:
        raise InputError(f"{op}: {name} must have four dimensions, not shape {tuple(x.shape)}")
    if 0 in x.shape:
        raise InputError(f"{op}: {name} is empty: {tuple(x.shape)}")
    if pixels and x.shape[2] * x.shape[3] >= 2**24:
        raise InputError(f"{op}: {name} must have fewer than 2**24 pixels, not {tuple(x.shape)}")


def same_device(op: str, first: tuple[str, Tensor], *others: tuple[str, Tensor]) -> None:
    for name, x in others:
        if x.device != first[1].device:
            raise InputError(f"{op}: {name} is on {x.device}, but {first[0]} is on {first[1].device}")
