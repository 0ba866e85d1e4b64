"""Counts the bytes that kernels move, from their own loads and stores in Triton's interpreter.

A program's own repeated accesses are served by its L1 cache and shared memory, so each address counts once a program;
what two programs both read counts twice, although L2 would serve the second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from triton.runtime.interpreter import InterpreterBuilder


class Traffic:
    """Addresses of elements touched, by program."""

    def __init__(self) -> None:
        self.program = 0
        self.touched: dict[tuple[str, int, int], list[np.ndarray]] = defaultdict(list)

    def note(self, way: str, pointers: Any, mask: Any) -> None:
        size = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        on = np.broadcast_to(mask.data, pointers.data.shape).astype(bool)
        self.touched[way, self.program, size].append(np.unique(pointers.data[on]))

    def bytes(self, way: str, program: int) -> int:
        return sum(
            size * np.unique(np.concatenate(a)).size
            for (w, p, size), a in self.touched.items()
            if (w, p) == (way, program)
        )


@contextmanager
def counted() -> Iterator[Traffic]:
    """Counts loads and stores within it, under "load" and "store"."""
    traffic, builder = Traffic(), InterpreterBuilder
    before = builder.create_masked_load, builder.create_masked_store, builder.set_grid_idx

    def load(self: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
        traffic.note("load", pointers, mask)
        return before[0](self, pointers, mask, *rest)

    def store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        traffic.note("store", pointers, mask)
        return before[1](self, pointers, value, mask, *rest)

    def start(self: Any, *index: int) -> None:
        traffic.program += 1
        before[2](self, *index)

    builder.create_masked_load, builder.create_masked_store, builder.set_grid_idx = load, store, start
    try:
        yield traffic
    finally:
        builder.create_masked_load, builder.create_masked_store, builder.set_grid_idx = before
