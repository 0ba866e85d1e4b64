"""Every Triton kernel, forward and backward, against the float64 reference; without a GPU in Triton's interpreter.

Tolerances: float32 kernels err by rounding alone, 1e-5 of the largest value (sums of up to 10⁴ terms). In half
precision results are held to the eager network's own error in that precision, twice (root mean square over the result).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from acdc_fast.ops import reference

pytest.importorskip("triton", reason="Triton is not installed")
from helpers.guard import guarded

from acdc_fast.kernels import (
    attention_mask,
    cascade_transition,
    dual_fusion,
    dual_fusion_conv1x1,
    geometry_transfer,
    spatial_softmax,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HALVES = [torch.float16, torch.bfloat16]
SHAPES = [(1, 1, 1, 1), (2, 3, 5, 7), (1, 37, 6, 16), (3, 2, 1, 33), (1, 1, 47, 47)]


def layout(x: Tensor, kind: str) -> Tensor:
    """The same values with other strides: "nchw", "last" (channels last) or "strided" (no stride is 1)."""
    if kind == "last":
        return x.contiguous(memory_format=torch.channels_last)
    if kind == "strided":
        wide = x.new_full((*x.shape[:3], 2 * x.shape[3] + 1), torch.nan)
        wide[..., 1::2] = x
        return wide[..., 1::2]
    return x


def rms(x: Tensor) -> float:
    return float(x.detach().double().square().mean().sqrt())


def close(ours: Sequence[Tensor], truth: Sequence[Tensor], rounding: float = 1e-5) -> None:
    for a, b in zip(ours, truth, strict=True):
        b = b.detach()
        torch.testing.assert_close(a.double(), b, atol=rounding * (1e-3 + float(b.abs().max())), rtol=0)


def no_worse(ours: Sequence[Tensor], truth: Sequence[Tensor], eager: Sequence[Tensor]) -> None:
    """error(kernel) ≤ 2·error(eager in the same precision), plus float32 rounding."""
    for a, b, e in zip(ours, truth, eager, strict=True):
        assert rms(a - b.detach()) <= 2 * rms(e.detach() - b.detach()) + 1e-5 * (1e-3 + rms(b))


def of(function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], kind: torch.dtype, grads: Sequence[Tensor]):
    """Results and gradients of the reference, computed in ``kind``."""
    leaves = [x.detach().to(kind).requires_grad_() for x in inputs]
    results = function(*leaves)
    return results, torch.autograd.grad(results, leaves, [g.to(r.dtype) for g, r in zip(grads, results, strict=True)])


def noise(*shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, device=DEVICE) * scale


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", ["nchw", "last", "strided"])
@pytest.mark.parametrize("shape", SHAPES)
def test_spatial_softmax(shape: tuple[int, ...], kind: str) -> None:
    for dtype in (torch.float32, *HALVES):
        logits = layout((noise(*shape, scale=4)).to(dtype), kind)
        grads = [noise(*shape[:2], 2), noise(*shape[:2], 3), noise(*shape[:2])]
        logits = logits + 0 if kind != "strided" else logits
        flat = logits.flatten(2)
        truth, (grad,) = of(lambda x: tuple(reference.spatial_softmax(x)), [logits], torch.float64, grads)
        with guarded(logits, *grads):
            *moments, high, argmax = spatial_softmax.forward(logits)
        close(moments, truth, 2e-6)  # crop units
        assert torch.equal(high, flat.amax(2).float()) and torch.equal(argmax.long(), first(flat, flat.amax(2)))
        with guarded(logits, *grads):
            ours = spatial_softmax.backward(*grads, logits, *moments, high, argmax)
        assert ours.dtype == dtype
        if unique(flat, high):
            close([ours], [grad], {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype])


def first(flat: Tensor, value: Tensor) -> Tensor:
    """The first pixel of each map that has this value."""
    return (flat == value[..., None]).int().argmax(2)


def unique(flat: Tensor, high: Tensor) -> bool:
    """Makes each map's maximum unique. Half precision often has two, and the reference may choose the other one."""
    return bool(((flat.float() == high[..., None]).sum(2) == 1).all())


@pytest.mark.parametrize("kind", ["nchw", "last", "strided"])
@pytest.mark.parametrize("shape", SHAPES)
def test_attention_mask(shape: tuple[int, ...], kind: str) -> None:
    logits = layout(noise(*shape, scale=4), kind)
    grad = noise(shape[0], 1, *shape[2:])
    (truth,), (expected,) = of(lambda x: (reference.attention_mask(x),), [logits], torch.float64, [grad])
    with guarded(logits, grad):
        mask, high, low, argmax, argmin, winner = attention_mask.forward(logits)
    flat = logits.flatten(2)
    close([mask], [truth])
    assert torch.equal(argmax.long(), first(flat, high)) and torch.equal(argmin.long(), first(flat, low))
    assert torch.equal(winner < 0, mask[:, 0] <= 0)
    with guarded(logits, grad):
        ours = attention_mask.backward(grad, logits, mask, high, low, argmax, argmin, winner)
    close([ours], [expected])


def test_a_map_of_two_values_and_a_constant_one() -> None:
    """Constant maps contribute nothing, ties take the first pixel, near-one-hot maps stay finite."""
    logits = noise(1, 4, 5, 6)
    logits[0, 0], logits[0, 1, :2], logits[0, 1, 2:], logits[0, 2, 3, 3] = 2.5, 1, 3, 5e4
    with guarded(logits):
        mask, _, _, argmax, argmin, winner = attention_mask.forward(logits)
        mean, covariance, peak, *_ = spatial_softmax.forward(logits)
    close([mask], [reference.attention_mask(logits.double())])
    assert argmax[0, 1] == 12 and argmin[0, 1] == 0 and not (winner == 0).any()
    flat = attention_mask.forward(logits.new_zeros(1, 1, 40, 40))  # more pixels than one block of a program
    assert flat[3].item() == flat[4].item() == 0
    assert peak[0, 2] == 1 and covariance[0, 2].abs().max() < 1e-6 and torch.isfinite(mean).all()


@pytest.mark.parametrize("kind", ["nchw", "last", "strided"])
def test_dual_fusion(kind: str) -> None:
    for shape in SHAPES:
        for dtype in (torch.float32, *HALVES):
            (b, c, h, w), plane = shape, (shape[0], 1, *shape[2:])
            embedding = layout(noise(*shape).to(dtype), kind)
            inputs = [noise(*plane), embedding, noise(*plane).abs(), noise(b, 2 + 2 * c)]
            grad = layout(noise(b, 2 + 2 * c, h, w).to(dtype), kind)
            truth, expected = of(lambda *a: (reference.dual_fusion(*a),), inputs, torch.float64, [grad])
            with guarded(*inputs, grad):
                out = dual_fusion.forward(*inputs)
                ours = dual_fusion.backward(grad, *inputs, True)
            rounding = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
            close([out, *ours], [*truth, *expected], rounding)


@pytest.mark.parametrize("kind", ["nchw", "last", "strided"])
@pytest.mark.parametrize("outputs", [1, 5, 70])
def test_dual_fusion_conv1x1(kind: str, outputs: int) -> None:
    for shape in ((1, 1, 1, 1), (2, 3, 5, 7), (1, 70, 6, 16)):
        (b, c, h, w), plane = shape, (shape[0], 1, *shape[2:])
        for dtype in (torch.float32, *HALVES):
            embedding = layout(noise(*shape).to(dtype), kind)
            inputs = [noise(*plane), embedding, noise(*plane).abs(), noise(b, 2 + 2 * c), noise(outputs, 2 + 2 * c)]
            inputs.append(noise(outputs))
            grad = layout(noise(b, outputs, h, w).to(dtype), kind)

            def function(*a: Tensor) -> tuple[Tensor]:
                return (reference.dual_fusion_conv1x1(*a),)

            truth = of(function, inputs, torch.float64, [grad])
            with guarded(*inputs, grad):
                out = dual_fusion_conv1x1.forward(*inputs)
                ours = dual_fusion_conv1x1.backward(grad, *inputs[:-1], True)
            if dtype == torch.float32:
                close([out, *ours], [*truth[0], *truth[1]])
            else:  # weights and results are rounded, 2⁻¹¹ or 2⁻⁸ each
                close([out, *ours], [*truth[0], *truth[1]], {torch.float16: 2e-3, torch.bfloat16: 1.6e-2}[dtype])
            if dtype != torch.float32 and c == outputs == 70:  # enough values to compare errors
                eager = of(function, inputs, dtype, [grad])
                no_worse([out, *ours], [*truth[0], *truth[1]], [*eager[0], *eager[1]])


CASES = {  # B, C, H, W, maps, split, K: both streams, blocks of both, one stream alone, more columns than a block
    "one pixel": (1, 1, 1, 1, 1, 1, 1),
    "two streams": (2, 5, 3, 7, 9, 4, 4),
    "block of both": (1, 12, 4, 9, 130, 70, 9),
    "solid alone": (1, 16, 3, 35, 5, 0, 12),
}


def network(case: str, dtype: torch.dtype, kind: str) -> tuple[list[Tensor], int, list[bool]]:
    b, c, h, w, maps, split, k = CASES[case]
    streams = (split > 0) + (split < maps)
    embedding = layout(noise(b, c, h, w).to(dtype), kind)
    return [embedding, noise(streams, k, 3, 3, scale=0.3), noise(maps, k, scale=3 / k**0.5)], split, masked(maps)


def masked(maps: int) -> list[bool]:
    return [i % 3 != 1 for i in range(maps)]


@pytest.mark.parametrize("kind", ["nchw", "last"])
@pytest.mark.parametrize("case", CASES)
def test_geometry_transfer(case: str, kind: str) -> None:
    inputs, split, flags = network(case, torch.float32, kind)

    def function(*a: Tensor) -> tuple[Tensor, ...]:
        moments, mask = reference.geometry_transfer(*a, split, flags)
        return (*moments, mask)

    (b, _, h, w), maps = inputs[0].shape, len(flags)
    grads = [noise(b, maps, 2), noise(b, maps, 3), noise(b, maps), noise(b, 1, h, w)]
    truth, expected = of(function, inputs, torch.float64, grads)
    with guarded(*inputs, *grads):
        saved = geometry_transfer.forward(*inputs, split, flags)
        ours = geometry_transfer.backward(*grads, *inputs, split, *saved)
    close([*saved[:4], *ours], [*truth, *expected], 2e-5)  # logits to 1e-6 of their size, then exponentials of them


@pytest.mark.parametrize("tile", [(1, 16), (3, 32)])
def test_tiles_join(tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces cut into tiles that do not divide them, with each map's extremes twice: the first in row-major order wins,
    though its tile comes after the other's."""
    for module in (geometry_transfer, cascade_transition):
        monkeypatch.setattr(module, "tile_of", lambda embedding, block: (tile[0], max(block, tile[1])))
    b, c, h, w, maps, split, k = 2, 5, 7, 70, 9, 4, 4
    embedding, transfer = noise(b, c, h, w), noise(maps, k)
    embedding[:, :, 0, 60], embedding[:, :, 1, 60], embedding[:, :, 2, 3] = 20.0, -20.0, -20.0
    embedding[:, :, 2, 7] = 20.0
    depthwise = torch.zeros(2, k, 3, 3, device=DEVICE)
    depthwise[:, :, 1, 1] = 1  # the pixel itself, so that equal pixels have equal logits
    saved = geometry_transfer.forward(embedding, depthwise, transfer.abs(), split, masked(maps))
    assert (saved[6] == 60).all() and (saved[7] == w + 60).all()
    embedding = layout(noise(b, c, h, w), "last")
    depthwise = noise(2, k, 3, 3, scale=0.3)
    with guarded(embedding, depthwise, transfer):
        saved = geometry_transfer.forward(embedding, depthwise, transfer, split, masked(maps))
    given = [t.double() for t in (embedding, depthwise, transfer)]
    moments, truth = reference.geometry_transfer(*given, split, masked(maps))
    close(saved[:4], [*moments, truth], 2e-5)


@pytest.mark.parametrize("dtype", HALVES)
def test_geometry_transfer_in_half_precision(dtype: torch.dtype) -> None:
    """Without the mask's gradient, because the map that wins a pixel can change suddenly."""
    inputs, split, flags = network("block of both", dtype, "last")

    def function(*a: Tensor) -> tuple[Tensor, ...]:
        moments, mask = reference.geometry_transfer(*a, split, flags)
        return (*moments, mask)

    (b, _, h, w), maps = inputs[0].shape, len(flags)
    grads = [noise(b, maps, 2), noise(b, maps, 3), noise(b, maps), torch.zeros(b, 1, h, w, device=DEVICE)]
    truth, expected = of(function, inputs, torch.float64, grads)
    eager, gradients = of(function, inputs, dtype, grads)
    with guarded(*inputs, *grads):
        saved = geometry_transfer.forward(*inputs, split, flags)
        ours = geometry_transfer.backward(*grads, *inputs, split, *saved)
    no_worse([*saved[:4], *ours], [*truth, *expected], [*eager, *gradients])


@pytest.mark.parametrize("case", ["two streams", "solid alone"])
def test_cascade_transition(case: str) -> None:
    """The next stem's output from an embedding, its maps' extremes and an excitation, by one op after the other."""
    (embedding, depthwise, transfer), split, flags = network(case, torch.float32, "last")
    (b, c, h, w), entering = embedding.shape, torch.tensor(flags, device=DEVICE)
    image, excitation, weight, bias = noise(b, 1, h, w), noise(b, 2 + 2 * c), noise(6, 2 + 2 * c), noise(6)
    layers = geometry_transfer.pack(depthwise, transfer, split, embedding)
    with guarded(embedding, image, excitation, weight, bias):
        *_, high, low = geometry_transfer.statistics(embedding, layers, places=False)
        low = geometry_transfer.lowered(low, high, entering)
        out, mask = cascade_transition.transition(
            embedding, layers, high, low, image, excitation, weight.t().contiguous(), bias, mask=True
        )
        alone = cascade_transition.mask_of(embedding, layers, high, low)
    given = [t.double() for t in (embedding, depthwise, transfer)]
    _, truth = reference.geometry_transfer(*given, split, flags)
    given = [t.double() for t in (image, embedding, truth, excitation, weight, bias)]
    close([mask, alone, out], [truth, truth, reference.dual_fusion_conv1x1(*given)], 2e-5)


def test_more_than_two_to_the_31_elements() -> None:
    """Two faces 2³¹ elements apart in one allocation. The rest of it is never touched."""
    apart = 2**31 + 64
    try:
        room = torch.empty(apart + 4096, dtype=torch.float16, device=DEVICE)
    except RuntimeError as error:
        pytest.skip(f"no address space for 4 GiB: {error}")
    logits = room.as_strided((2, 3, 8, 9), (apart, 72, 9, 1))
    logits.copy_(noise(2, 3, 8, 9))
    mean, *_ = spatial_softmax.forward(logits)
    mask, *_ = attention_mask.forward(logits)
    close([mean], [reference.spatial_softmax(logits.double()).mean], 2e-6)
    close([mask], [reference.attention_mask(logits.double())])
    embedding = room.as_strided((1, 4, 2, 9), (72, 9, apart, 1))  # rows this far apart
    embedding.copy_(noise(1, 4, 2, 9))
    depthwise, transfer = noise(1, 4, 3, 3), noise(3, 4)
    layers = geometry_transfer.pack(depthwise, transfer, 3, embedding)
    ours = geometry_transfer.statistics(embedding, layers, places=False)
    moments, _ = reference.geometry_transfer(embedding.double(), depthwise.double(), transfer.double(), 3, [True] * 3)
    close(ours[:1], moments[:1], 1e-3)  # float16 products
    logits = room.as_strided((1, 1, 2, 3), (6, 1, 3, 2**30))  # columns: strides of 31 bits, an offset of 32
    logits.copy_(noise(1, 1, 2, 3))
    close([spatial_softmax.forward(logits)[0]], [reference.spatial_softmax(logits.double()).mean], 2e-6)
    close([attention_mask.forward(logits)[0]], [reference.attention_mask(logits.double())])
    image, mask, f = noise(1, 1, 2, 3), noise(1, 1, 2, 3).abs(), noise(1, 4)
    close([dual_fusion.forward(image, logits, mask, f)],
          [reference.dual_fusion(*(t.double() for t in (image, logits, mask, f)))], 1e-3)  # fmt: skip
    ours = geometry_transfer.forward(logits, depthwise[:, :1], transfer[:, :1], 3, [True] * 3)
    given = [t.double() for t in (logits, depthwise[:, :1], transfer[:, :1])]
    close(ours[:1], reference.geometry_transfer(*given, 3, [True] * 3)[0][:1], 1e-3)
