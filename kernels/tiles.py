"""How faces are cut into tiles for the one-pass kernels, Triton's and CUDA's: a program walks down one tile.

A tile reads a halo of one pixel round it and all weights for itself. At width 64 in half precision the two passes stay
under 3.6 × the embedding's bytes as long as tiles have 2048 pixels or more (8 of a face of 128²); smaller ones are cut
where processors would idle otherwise, which costs more time than the bytes, for those come from L2.
"""

from __future__ import annotations

MOST, FRUGAL = 4096, 2048  # pixels of a tile: at first, and the least that keeps the traffic's limit


def cdiv(a: int, b: int) -> int:
    return -(-a // b)


def tile(height: int, width: int, batch: int, processors: int, block: int) -> tuple[int, int]:
    """Rows and columns of a tile; columns are a multiple of ``block``.

    Two programs a processor are wanted while tiles stay frugal; smaller ones only until ¾ of the processors have one.
    """
    down = across = 1
    while True:
        rows, columns = cdiv(height, down), cdiv(cdiv(width, across), block) * block
        programs, pixels = batch * cdiv(height, rows) * cdiv(width, columns), rows * columns
        wanted = 2 * processors if pixels >= 2 * FRUGAL else 3 * processors / 4
        if pixels <= MOST and programs >= wanted:
            return rows, columns
        if columns > block and (columns > rows or rows <= 2):  # near squares have the shortest halo
            across *= 2
        elif rows > 2:
            down *= 2
        else:
            return rows, columns
