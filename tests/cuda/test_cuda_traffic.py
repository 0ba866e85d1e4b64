"""Bytes that the one-pass kernels load from and store to global memory, counted by the emulator, at an H100's strips.

At most 3.6 times the embedding wherever a batch fills the GPU with strips of the size that allows it: from 16 faces on.
Smaller batches are cut finer, or processors would idle (kernels/tiles.py); what they move is held to its own figure.
"""

from __future__ import annotations

import pytest
import torch

from acdc_fast import ACDCConfig
from acdc_fast.kernels import tiles
from acdc_fast.ops import cuda
from acdc_fast.ops.cuda import strips as cuda_strips
from acdc_fast.ops.cuda.launch import Compiled

PROCESSORS = 132  # of an H100
#: Batch: most that a face's stage may move, in sizes of its embedding.
LIMITS = {1: 7.5, 8: 4.2, 16: 3.6, 32: 3.6}


@pytest.mark.parametrize("batch", LIMITS)
def test_bytes_of_a_stage(emulator: Compiled, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """Width 64, half precision, 128²: one face, in the strips that it gets in a batch of this size."""
    config, size = ACDCConfig(), 128

    def tile(height: int, width: int, strips: int, processors: int, block: int) -> tuple[int, int]:
        return tiles.tile(height, width, batch * strips, PROCESSORS, block)

    monkeypatch.setattr(cuda_strips, "face_tile", tile)
    c, k, maps = config.width, config.stream_channels, config.maps
    torch.manual_seed(0)
    x = torch.randn(1, c, size, size).half().contiguous(memory_format=torch.channels_last)
    depthwise, transfer = torch.randn(2, k, 3, 3) / 3, torch.randn(maps, k) / k**0.5
    layers = cuda_strips.pack(depthwise, transfer, maps - config.points["3d68"], x.dtype)
    weight, bias = torch.randn(c, 2 + 2 * c) / 11, torch.randn(c)
    emulator.library.emulator_reset(1)
    statistics = cuda.geometry_transfer.statistics(x, layers)
    assert statistics is not None
    cuda.cascade_transition.forward(
        x, depthwise, transfer, layers.split, config.masked_maps, statistics[3], statistics[4],
        torch.rand(1, 1, size, size), torch.rand(1, 2 + 2 * c), weight, bias,
    )  # fmt: skip
    plan = cuda_strips.plan(x, layers)
    assert plan is not None
    loaded, stored = (emulator.library.emulator_loaded() / (2 * x.numel()),
                      emulator.library.emulator_stored() / (2 * x.numel()))  # fmt: skip
    what = f"{plan.strips} strips of {plan.s.rows}×{plan.s.tile}"
    print(f"\nbatch {batch}: {what}, × H: loaded {loaded:.3f}, stored {stored:.3f}, {loaded + stored:.2f} in all")
    assert stored >= 1 and loaded >= 2  # the count itself: all of H is read twice, the output is written
    assert loaded + stored <= LIMITS[batch]
