"""Allocation of all results of the backends in one place, so that tests can fill them with NaN first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

_poisoned = False


@contextmanager
def poison() -> Iterator[None]:
    """For tests: results start as NaN (integers as −2³⁰), so that an element that is never written shows."""
    global _poisoned
    before, _poisoned = _poisoned, True
    try:
        yield
    finally:
        _poisoned = before


def _prepared(x: Tensor) -> Tensor:
    if _poisoned:
        x.fill_(torch.nan if x.is_floating_point() else -(2**30))
    return x


@lru_cache(maxsize=32)
def flags(values: tuple[bool, ...], device: torch.device, dtype: torch.dtype = torch.bool) -> Tensor:
    """Flags, kept on the device: a recorded graph cannot fetch them from the host."""
    return torch.tensor(values, dtype=dtype, device=device)


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that an op computes in: float64 for float64, else float32, also under autocast."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def empty(shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A contiguous result on the device of ``like``. Its dtype is ``dtype`` or the one that an op computes in."""
    return _prepared(torch.empty(tuple(shape), dtype=dtype or compute_dtype(like.dtype), device=like.device))


def empty_image(like: Tensor, channels: int) -> Tensor:
    """(B, channels, H, W) with the dtype and device of ``like``, channels last if ``like`` is."""
    last = like.is_contiguous(memory_format=torch.channels_last)
    return _prepared(
        torch.empty(
            (like.shape[0], channels, *like.shape[2:]),
            dtype=like.dtype,
            device=like.device,
            memory_format=torch.channels_last if last else torch.contiguous_format,
        )
    )
