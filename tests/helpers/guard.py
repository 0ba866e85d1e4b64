"""For tests of kernels: results start as NaN and lie between canaries, which must live.

Importing it also mends Triton's interpreter, which truncates float32 to bfloat16 where every GPU rounds to nearest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter

from acdc_fast.ops import allocate

MARGIN = 8192  # elements before and after: more than any block that a kernel stores

_convert = interpreter._convert_float


def _rounded(data: np.ndarray, source: tl.dtype, target: tl.dtype, mode: Any) -> np.ndarray:
    if (source, target, mode) != (tl.float32, tl.bfloat16, None):
        return _convert(data, source, target, mode)
    return torch.from_numpy(np.ascontiguousarray(data)).bfloat16().view(torch.int16).numpy().view(np.uint16)


interpreter._convert_float = _rounded


class _Torch:
    """The torch that `acdc_fast.ops.allocate` sees within the guard."""

    def __init__(self) -> None:
        self.buffers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def empty(self, shape: Sequence[int], dtype: torch.dtype, device: Any, memory_format: Any = None) -> torch.Tensor:
        count = math.prod(shape)
        buffer = torch.randint(-99, 99, (count + 2 * MARGIN,), device=device).to(dtype)
        self.buffers.append((buffer, buffer.clone()))
        inner = buffer[MARGIN : MARGIN + count]
        if memory_format == torch.channels_last:
            b, c, h, w = shape
            return inner.view(b, h, w, c).permute(0, 3, 1, 2)
        return inner.view(shape)

    def check(self) -> None:
        for after, before in self.buffers:
            for end in (slice(None, MARGIN), slice(-MARGIN, None)):
                assert torch.equal(after[end], before[end]), "a kernel stored outside of its result"


@contextmanager
def guarded(*inputs: torch.Tensor) -> Iterator[None]:
    """Within it every result is guarded. At its end canaries and ``inputs`` must be unchanged."""
    copies, shim = [x.clone() for x in inputs], _Torch()
    allocate.torch, before = shim, allocate.torch  # type: ignore[attr-defined]
    try:
        with allocate.poison():
            yield
    finally:
        allocate.torch = before  # type: ignore[attr-defined]
    shim.check()
    assert all(torch.equal(x, copy) for x, copy in zip(inputs, copies, strict=True)), "a kernel changed its input"
