"""Bytes that the one-pass kernels load from and store to global memory, counted by the emulator."""

from __future__ import annotations

import torch

from acdc_fast import ACDCConfig
from acdc_fast.ops import cuda
from acdc_fast.ops.cuda_launch import Compiled


def test_one_pass_moves_at_most_3_6_times_the_embedding(emulator: Compiled) -> None:
    """Width 64, half precision, 128², strips of 64 rows: what a batch that fills the GPU runs."""
    config, size = ACDCConfig(), 128
    c, k, maps = config.width, config.stream_channels, config.maps
    torch.manual_seed(0)
    x = torch.randn(1, c, size, size).half().contiguous(memory_format=torch.channels_last)
    depthwise, transfer = torch.randn(2, k, 3, 3) / 3, torch.randn(maps, k) / k**0.5
    split = maps - config.points["3d68"]
    weight, bias = torch.randn(c, 2 + 2 * c) / 11, torch.randn(c)
    emulator.library.emulator_reset(1)
    statistics = cuda.geometry_transfer.statistics(x, depthwise, transfer, split)
    assert statistics is not None
    cuda.cascade_transition.forward(
        x, depthwise, transfer, split, config.masked_maps, statistics[3], statistics[4],
        torch.rand(1, 1, size, size), torch.rand(1, 2 + 2 * c), weight, bias,
    )  # fmt: skip
    bytes_of_h = x.numel() * x.element_size()
    loaded, stored = emulator.library.emulator_loaded(), emulator.library.emulator_stored()
    print(f"loaded {loaded / bytes_of_h:.3f}, stored {stored / bytes_of_h:.3f} times H")
    assert stored >= bytes_of_h and loaded >= 2 * bytes_of_h  # the count itself: all of H is read twice, out is written
    assert loaded + stored <= 3.6 * bytes_of_h
