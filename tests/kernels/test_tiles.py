"""How faces are cut into tiles: every pixel in one tile, processors busy, and never smaller than the traffic allows
unless processors would idle."""

from __future__ import annotations

import random

import pytest

from acdc_fast.kernels.tiles import MAX_PIXELS, MIN_PIXELS, cdiv, tile


def count(height: int, width: int, rows: int, columns: int) -> int:
    return cdiv(height, rows) * cdiv(width, columns)


@pytest.mark.parametrize("batch", [16, 32, 64, 1000])
@pytest.mark.parametrize("processors", [108, 132])
def test_large_batches_keep_tiles_frugal_and_processors_busy(batch: int, processors: int) -> None:
    rows, columns = tile(128, 128, batch, processors, 32)
    assert MIN_PIXELS <= rows * columns <= MAX_PIXELS
    assert batch * count(128, 128, rows, columns) >= 3 * processors / 4


def test_small_batches_give_every_processor_a_tile() -> None:
    for batch in (1, 2, 4, 8):
        rows, columns = tile(128, 128, batch, 132, 32)
        assert rows * columns < MIN_PIXELS and 3 * 132 / 4 <= batch * count(128, 128, rows, columns) <= 2 * 132


def test_any_shape_is_covered() -> None:
    shapes = random.Random(0)
    for _ in range(500):
        h, w, batch = shapes.randint(1, 300), shapes.randint(1, 300), shapes.randint(1, 99)
        block, processors = shapes.choice([16, 32, 64, 128]), shapes.choice([1, 108, 132])
        rows, columns = tile(h, w, batch, processors, block)
        assert rows >= 1 and columns % block == 0 and columns - block < w
        assert (cdiv(h, rows) - 1) * rows < h and (cdiv(w, columns) - 1) * columns < w  # no tile is empty
