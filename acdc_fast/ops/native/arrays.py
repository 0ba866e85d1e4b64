"""Tensors as arrays for the C++ kernels: float32, channels last; for batch norm also bfloat16, as bits in uint16.

A tensor of another layout or dtype is copied here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..allocate import empty, empty_image

Array = Any


def isa() -> str:
    return os.environ.get("ACDC_ISA", "")


def view(x: Tensor) -> Array:
    return x.detach().numpy()


def flat(x: Tensor) -> Array:
    """Float32 (or index) array in C order. Copied only if the layout differs."""
    return x.detach().contiguous().numpy()


def pixels(x: Tensor) -> Array:
    """(B, C, H, W) of any dtype and layout → (B, H, W, C) float32 in C order."""
    return x.detach().permute(0, 2, 3, 1).to(torch.float32).contiguous().numpy()


def rows_of_channels(x: Tensor) -> Array:
    """(B, C, H, W) → (B·H·W, C) in C order: bfloat16 as its bits in uint16, any other dtype as float32."""
    nhwc = x.detach().permute(0, 2, 3, 1)
    array = nhwc.contiguous().view(torch.uint16).numpy() if x.dtype == torch.bfloat16 else pixels(x)
    return array.reshape(-1, x.shape[1])


class Image:
    """A result (B, channels, H, W) with the layout and dtype of ``like``. Kernels fill `array`, (B, H, W, channels).

    With ``bits`` the array of a bfloat16 result holds its bits, in uint16.
    """

    def __init__(self, like: Tensor, channels: int, bits: bool = False) -> None:
        self.tensor = empty_image(like, channels)
        nhwc = self.tensor.permute(0, 2, 3, 1)
        self._buffer, bits = nhwc, bits and nhwc.dtype == torch.bfloat16
        if not (bits or nhwc.dtype == torch.float32) or not nhwc.is_contiguous():
            self._buffer = empty(nhwc.shape, like, nhwc.dtype if bits else None)
        self.array = (self._buffer.view(torch.uint16) if bits else self._buffer).numpy()

    def finish(self) -> Tensor:
        if self._buffer.data_ptr() != self.tensor.data_ptr():
            self.tensor.copy_(self._buffer.permute(0, 3, 1, 2))
        return self.tensor


def joined(array: Array) -> Array:
    """(B, H, W, C) → (B, P, C); a view."""
    return array.reshape(array.shape[0], -1, array.shape[3])


def rows(x: Tensor) -> Array:
    """(B, 1, H, W) → (B, P)."""
    return flat(x).reshape(x.shape[0], -1)


def new_statistics(like: Tensor, shape: tuple[int, int], names: Sequence[str]) -> dict[str, Tensor]:
    last = {"mean": (2,), "covariance": (3,)}
    return {n: empty((*shape, *last.get(n, ())), like, torch.int32 if n.startswith("arg") else None) for n in names}


def arrays(statistics: dict[str, Tensor]) -> dict[str, Array]:
    return {name: flat(x) for name, x in statistics.items()}


def like_image(x: Tensor, like: Tensor) -> Tensor:
    """``x`` if it has the layout and dtype of `empty_image`, else a copy with them."""
    out = empty_image(like, like.shape[1])
    return x if out.stride() == x.stride() and out.dtype == x.dtype else out.copy_(x)
