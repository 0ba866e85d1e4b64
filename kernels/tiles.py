"""How faces are cut into tiles for the one-pass kernels of Triton and CUDA. A program walks down one tile.

For each tile a program reads a halo of one pixel around it, and all weights. At width 64 in half precision the two
passes read and write at most 3.6 × the embedding's bytes if tiles have 2048 pixels or more (8 tiles of a face of 128²).
Smaller tiles are used if multiprocessors would be idle otherwise. Idle ones would cost more time than the additional
bytes, which come from L2. In this file ``processors`` is the number of the GPU's multiprocessors.
"""

from __future__ import annotations

MAX_PIXELS, MIN_PIXELS = 4096, 2048  # pixels of a tile: the largest, and the smallest that keeps the limit on bytes


def cdiv(a: int, b: int) -> int:
    return -(-a // b)


def tile(height: int, width: int, batch: int, processors: int, block: int) -> tuple[int, int]:
    """Rows and columns of a tile. Columns are a multiple of ``block``.

    Tiles of 4096 pixels or more are divided until there are two programs for each multiprocessor. Smaller tiles are
    divided only until there are programs for ¾ of the multiprocessors.
    """
    down = across = 1
    while True:
        rows, columns = cdiv(height, down), cdiv(cdiv(width, across), block) * block
        programs, pixels = batch * cdiv(height, rows) * cdiv(width, columns), rows * columns
        wanted = 2 * processors if pixels >= 2 * MIN_PIXELS else 3 * processors / 4
        if pixels <= MAX_PIXELS and programs >= wanted:
            return rows, columns
        if columns > block and (columns > rows or rows <= 2):  # a tile near a square has the shortest halo
            across *= 2
        elif rows > 2:
            down *= 2
        else:
            return rows, columns
