"""Bytes that a stage of the one-pass kernels moves (width 64, half precision, 128²), at the tiles of an H100.

At most 3.6 times the embedding wherever a batch fills the GPU with tiles of the size that allows it: from 16 faces on.
Smaller batches are cut finer, or processors would idle (kernels/tiles.py); what they move is held to its own figure.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")
if torch.cuda.is_available():
    pytest.skip("bytes are counted in Triton's interpreter, which is off where there is a GPU", allow_module_level=True)
from helpers.traffic import counted

from acdc_fast.kernels import cascade_transition, configs, geometry_logits, geometry_transfer, tiles

WIDTH, SIDE, MAPS, SPLIT, INPUTS = 64, 128, 239, 171, 48
PROCESSORS = 132  # of an H100
#: Batch size → bytes that a stage may move for each face, in multiples of the size of its embedding.
LIMITS = {1: 10.0, 8: 4.0, 16: 3.6, 32: 3.6}


def spread(count: int) -> list[int]:
    """How many of a face's ``count`` rows (or columns) of tiles are like the first, a middle, and the last one."""
    return [1, count - 2, 1] if count > 2 else [1] * count


@pytest.mark.parametrize("batch", LIMITS)
def test_bytes_of_a_stage(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All inner tiles are alike, so one row and one column of them runs and counts for all."""
    rows, columns = tiles.tile(SIDE, SIDE, batch, PROCESSORS, configs.HALF["cascade_transition"].pixels)
    down, across = spread(SIDE // rows), spread(SIDE // columns)
    for module in (geometry_transfer, cascade_transition):  # the tiles that this batch gets
        monkeypatch.setattr(module, "tile_of", lambda embedding, block: (rows, columns))
    for name in ("geometry_transfer", "cascade_transition"):  # larger blocks interpret faster and move the same bytes
        larger = dataclasses.replace(configs.HALF[name], pixels=columns, maps=256)
        monkeypatch.setitem(configs.TABLE["sm_80"][0], name, larger)
    for module in (geometry_transfer, cascade_transition, geometry_logits):  # products in float16, as on a GPU
        monkeypatch.setattr(module, "dot_dtype", lambda x: x.dtype)
    torch.manual_seed(0)
    shape = (len(down) * rows, len(across) * columns)
    embedding = torch.randn(1, WIDTH, *shape).half().contiguous(memory_format=torch.channels_last)
    image, excitation = torch.rand(1, 1, *shape).half(), torch.rand(1, 2 + 2 * WIDTH)
    layers = geometry_transfer.pack(torch.randn(2, INPUTS, 3, 3), torch.randn(MAPS, INPUTS), SPLIT, embedding)
    stem, bias = torch.randn(2 + 2 * WIDTH, WIDTH).half(), torch.randn(WIDTH)
    with counted() as first:
        *_, high, low = geometry_transfer.statistics(embedding, layers, places=False)
    with counted() as second:
        cascade_transition.transition(embedding, layers, high, low, image, excitation, stem, bias, mask=False)
    like = [d * a for d in down for a in across]  # tiles that each interpreted program represents
    joins = tiles.cdiv(MAPS, 64)
    assert first.program == len(like) + joins and second.program == len(like)
    size, moved = 2 * WIDTH * SIDE**2, []
    for traffic in (first, second):
        for way in ("load", "store"):
            each = [traffic.bytes(way, program) for program in range(1, traffic.program + 1)]
            joined = sum(each[len(like) :]) * (sum(like) / len(like) if way == "load" else 1)  # all tiles' sums
            moved.append((sum(n * b for n, b in zip(like, each, strict=False)) + joined) / size)
    what = f"\nbatch {batch}: {sum(like)} tiles of {rows}×{columns}, × H: statistics read {{:.3f}}, written {{:.3f}}; "
    print((what + "transition {:.3f}, {:.3f}; {:.2f} in all").format(*moved, sum(moved)))
    assert moved[0] > 1 and moved[2] > 1 and moved[3] == 1  # every pixel is read, every output written once
    assert sum(moved) <= LIMITS[batch]
