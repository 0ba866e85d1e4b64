"""Sizes that the CUDA kernels and their callers share: layouts, shared memory, packed matrices."""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from ..allocate import empty_image

#: For CPU tensors (the emulator) plans assume this much shared memory of a block, an H100's, and so many processors.
EMULATED_SHARED, EMULATED_PROCESSORS = 227 << 10, 1


class Layout(ctypes.Structure):
    _fields_ = [("stride_c", ctypes.c_longlong), ("stride_p", ctypes.c_longlong),
                ("channels", ctypes.c_int), ("wide", ctypes.c_int)]  # fmt: skip


def cdiv(a: int, b: int) -> int:
    return -(-a // b)


def round16(n: int) -> int:
    return cdiv(n, 16) * 16


def column_stride(channels: int) -> int:
    return round16(channels) + 8


def vector(x: Tensor) -> int:
    """Number of values in a 16-byte load."""
    return 16 // x.element_size()


def wide(x: Tensor, run: int) -> int:
    """1 if runs of ``run`` values from the start of ``x`` can be read 16 bytes at a time, else 0."""
    return int(x.data_ptr() % 16 == 0 and run % vector(x) == 0)


def dense_image(x: Tensor) -> Tensor:
    """``x`` if its memory is NCHW or channels last, else a copy."""
    dense = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
    return x if dense else x.contiguous()


def layout(x: Tensor, run: int) -> Layout:
    """The layout of a `dense_image`. ``run``: pixels that the kernel reads together from an NCHW image."""
    _, channels, h, w = x.shape
    last = x.is_contiguous(memory_format=torch.channels_last)
    return Layout(1 if last else h * w, channels if last else 1, channels, wide(x, channels if last else run))


def restored(dense: Tensor, like: Tensor) -> Tensor:
    """A contiguous result, brought to the layout of `empty_image`."""
    out = empty_image(like, dense.shape[1])
    return dense if out.stride() == dense.stride() else out.copy_(dense)


def taken(*parts: int) -> int:
    """Bytes of shared memory that a kernel takes: each part starts on a 16-byte boundary."""
    return sum(round16(p) for p in parts)


@cache
def _properties(device: torch.device) -> tuple[int, int]:
    properties = torch.cuda.get_device_properties(device)
    shared: int = properties.shared_memory_per_block_optin  # type: ignore[attr-defined]
    return shared, properties.multi_processor_count


def limits(x: Tensor) -> tuple[int, int]:
    """Largest shared memory of a block in bytes, and number of processors."""
    return _properties(x.device) if x.is_cuda else (EMULATED_SHARED, EMULATED_PROCESSORS)


def pack_fragments(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """(M, K) → (row tiles, k tiles, 32 lanes, 8), zero-padded to 16s: operand a of csrc/cuda/mma.cuh."""
    m, k = matrix.shape
    padded = torch.nn.functional.pad(matrix.to(dtype), (0, round16(k) - k, 0, round16(m) - m))
    tiles = padded.view(round16(m) // 16, 2, 8, round16(k) // 16, 2, 4, 2)  # m, r8, g, k, k8, t, i
    return tiles.permute(0, 3, 2, 5, 4, 1, 6).reshape(round16(m) // 16, round16(k) // 16, 32, 8)


def flat(x: Tensor) -> Tensor:
    """Dense float32, the form in which kernels read small arguments."""
    return x.to(torch.float32).contiguous()
