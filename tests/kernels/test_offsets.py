"""Images whose elements lie further apart than 2³¹ though no stride does: each kernel, forward and backward, gives what
it gives for the same image packed tightly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not installed")
from helpers import guard  # noqa: F401  mends the interpreter's bfloat16

from acdc_fast.kernels import (
    attention_mask,
    cascade_transition,
    dual_fusion,
    dual_fusion_conv1x1,
    geometry_transfer,
    spatial_softmax,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FAR = 2**30 + 64  # Triton passes this stride as 32 bits; twice the stride does not fit in them
SHAPE, SPLIT, MAPS, OUTPUTS = (3, 3, 3, 3), 2, 5, 4


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, device=DEVICE)


@pytest.fixture(scope="module")
def room() -> Tensor:
    """4 GiB of addresses for two images. Only the parts that a test writes are ever touched."""
    try:
        return torch.empty(2 * FAR + 2**12, dtype=torch.float16, device=DEVICE)
    except RuntimeError as error:
        pytest.skip(f"no address space for 4 GiB: {error}")


def spread(room: Tensor, axis: int, x: Tensor, place: int) -> Tensor:
    """``x`` with ``axis``'s neighbours FAR apart; ``place``: which of several images in the room."""
    strides = {0: (FAR, 27, 9, 3), 1: (27, FAR, 9, 3), 2: (27, 9, FAR, 3), 3: (27, 9, 3, FAR)}[axis]
    channels = x.shape[1]
    if channels != SHAPE[1]:  # a gradient: its own channels close together
        strides = (FAR, 9, 3, 1) if axis == 0 else (9 * channels, 9, 3, 1)
    far = room.as_strided(tuple(x.shape), strides, 128 + 512 * place)
    return far.copy_(x)


Far = Callable[[Tensor, int], Tensor]


def softmax(far: Far) -> list[Tensor]:
    x = far(noise(*SHAPE), 0)
    moments = spatial_softmax.forward(x)
    return [*moments, spatial_softmax.backward(noise(3, 3, 2), noise(3, 3, 3), noise(3, 3), x, *moments)]


def mask(far: Far) -> list[Tensor]:
    x = far(noise(*SHAPE), 0)
    level, *saved = attention_mask.forward(x)
    return [level, *saved, attention_mask.backward(noise(3, 1, 3, 3), x, level, *saved)]


def fusion(far: Far) -> list[Tensor]:
    inputs = [noise(3, 1, 3, 3), far(noise(*SHAPE), 0), noise(3, 1, 3, 3).abs(), noise(3, 8)]
    grad = far(noise(3, 8, 3, 3), 1)
    return [dual_fusion.forward(*inputs), *dual_fusion.backward(grad, *inputs, True)]


def fusion_conv(far: Far) -> list[Tensor]:
    inputs = [noise(3, 1, 3, 3), far(noise(*SHAPE), 0), noise(3, 1, 3, 3).abs(), noise(3, 8), noise(OUTPUTS, 8)]
    grad = far(noise(3, OUTPUTS, 3, 3), 1)
    out = dual_fusion_conv1x1.forward(*inputs, noise(OUTPUTS))
    return [out, *dual_fusion_conv1x1.backward(grad, *inputs, True)]


def geometry(far: Far) -> list[Tensor]:
    x, depthwise, transfer = far(noise(*SHAPE), 0), noise(2, 2, 3, 3), noise(MAPS, 2)
    saved = geometry_transfer.forward(x, depthwise, transfer, SPLIT, [True] * MAPS)
    grads = [noise(3, MAPS, 2), noise(3, MAPS, 3), noise(3, MAPS), noise(3, 1, 3, 3)]
    return [*saved, *geometry_transfer.backward(*grads, x, depthwise, transfer, SPLIT, *saved)]


def transition(far: Far) -> list[Tensor]:
    x, image = far(noise(*SHAPE), 0), noise(3, 1, 3, 3)
    layers = geometry_transfer.pack(noise(2, 2, 3, 3), noise(MAPS, 2), SPLIT, x)
    *_, high, low = geometry_transfer.statistics(x, layers, places=False)
    weight = noise(8, OUTPUTS)
    out = cascade_transition.transition(x, layers, high, low, image, noise(3, 8), weight, noise(OUTPUTS), mask=True)
    return [*out, cascade_transition.mask_of(x, layers, high, low)]


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("kernels", [softmax, mask, fusion, fusion_conv, geometry, transition])
def test_far_apart_is_as_close_together(kernels: Callable[[Far], list[Tensor]], axis: int, room: Tensor) -> None:
    """The same half-precision numbers. Only the order of float32 sums differs, and one rounding to half."""
    torch.manual_seed(axis)
    far = kernels(lambda x, place: spread(room, axis, x.half(), place))
    torch.manual_seed(axis)
    close = kernels(lambda x, place: x.half())
    assert len(far) == len(close)
    for a, b in zip(far, close, strict=True):
        if not b.dtype.is_floating_point:
            assert torch.equal(a, b)
        else:
            torch.testing.assert_close(a.float(), b.float(), rtol=2**-10, atol=1e-5 * float(b.abs().max()))
