"""More than 2³¹ elements in a tensor: the last face of a batch that large, alone, through every op.

The emulator runs that face's blocks and no others, and memory that nobody touches is never there, so the test needs
address space, not memory. An index of 32 bits would fall outside of the tensor.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from acdc_fast.ops import cuda
from acdc_fast.ops.cuda import strips as cuda_strips
from acdc_fast.ops.cuda.launch import Compiled

SIDE, CHANNELS, MAPS, SPLIT, INPUTS, OUTPUTS = 64, 16, 9, 5, 12, 16
BATCH = 2**31 // (CHANNELS * SIDE**2) + 1  # the last face lies beyond 2³¹ elements of an embedding


def batch(face: Tensor) -> Tensor:
    """A batch with this face as its last, in its layout. No other face is ever written."""
    last = face.dim() == 4 and face.is_contiguous(memory_format=torch.channels_last) and face.shape[1] > 1
    order = torch.channels_last if last else torch.contiguous_format
    whole = torch.empty((BATCH, *face.shape[1:]), dtype=face.dtype, memory_format=order)
    whole[-1:] = face
    return whole


@pytest.mark.parametrize("kind", [torch.contiguous_format, torch.channels_last])
def test_the_last_face(emulator: Compiled, monkeypatch: pytest.MonkeyPatch, kind: torch.memory_format) -> None:
    """Every op gives the same bits as for the face alone."""
    monkeypatch.setattr(cuda_strips, "MOST_ROWS", 16)  # the same strips, whatever the batch
    torch.manual_seed(0)
    x = torch.randn(1, CHANNELS, SIDE, SIDE).half().contiguous(memory_format=kind)
    image, mask = torch.rand(1, 1, SIDE, SIDE), torch.rand(1, 1, SIDE, SIDE)
    excitation, weight, bias = torch.rand(1, 2 + 2 * CHANNELS), torch.randn(OUTPUTS, 2 + 2 * CHANNELS), torch.rand(16)
    depthwise, transfer = torch.randn(2, INPUTS, 3, 3) / 3, torch.randn(MAPS, INPUTS)
    flat = x.flatten(2)
    high, low, masked = flat.amax(2).float(), flat.amin(2).float(), [True] * MAPS
    out = torch.randn(1, OUTPUTS, SIDE, SIDE).half().contiguous(memory_format=kind)
    fused = torch.randn(1, 2 + 2 * CHANNELS, SIDE, SIDE).half()
    mean, covariance, peak, _, *saved = cuda.geometry_transfer.forward(x, depthwise, transfer, SPLIT, masked)
    assert x.numel() * (BATCH - 1) >= 2**31

    def all_ops(given: list[Tensor]) -> list[Tensor]:
        x, image, mask, excitation, high, low, out, fused, m, c, p, top, bottom, argmax, argmin, winner = given
        layers = cuda_strips.pack(depthwise, transfer, SPLIT, x.dtype)
        saved = (m, c, p, mask, top, bottom, argmax, argmin, winner)
        statistics = cuda.geometry_transfer.statistics(x, layers)
        assert statistics is not None
        planes = [
            cuda.dual_fusion_conv1x1.forward(image, x, mask, excitation, weight, bias),
            *cuda.dual_fusion_conv1x1.backward(out, image, x, mask, excitation, weight, True)[:3],
            *statistics,
            *cuda.cascade_transition.forward(
                x, depthwise, transfer, SPLIT, masked, top, bottom, image, excitation, weight, bias
            ),
        ]
        if kind == torch.channels_last:  # the others would copy all of the batch into their layout
            return [t[-1].clone() for t in planes]
        planes += [
            *cuda.attention_mask.levels(x, high, low),
            cuda.dual_fusion.forward(image, x, mask, excitation),
            *cuda.dual_fusion.backward(fused, image, x, mask, excitation, True)[:3],
            cuda.geometry_transfer.backward(m, c, p, mask, x, depthwise, transfer, SPLIT, *saved)[0],
        ]
        # one block is one map here: the last map of the last face
        first = cuda.spatial_softmax.forward(x)
        slope = cuda.spatial_softmax.backward(*[torch.ones_like(t) for t in first[:3]], x, *first)
        return [*(t[-1].clone() for t in planes), *(t[-1, -1].clone() for t in (*first, slope))]

    given = [x, image, mask, excitation, high, low, out, fused, mean, covariance, peak, *saved]
    alone = all_ops(given)
    emulator.library.emulator_last_slice(1)
    try:
        of_many = all_ops([batch(t) for t in given])
    finally:
        emulator.library.emulator_last_slice(0)
    for i, (a, b) in enumerate(zip(of_many, alone, strict=True)):
        assert torch.equal(a, b), i
        assert b.isfinite().all() and b.float().abs().max() > 0, i
