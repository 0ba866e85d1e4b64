"""Every CUDA op, run by the emulator, against the float64 oracle: values and gradients, odd shapes, both layouts.

float32 must come within 4e-6 of the largest value (24 bits and sums of some thousand terms); 16-bit storage is judged
against the oracle run in that type: at most twice its error, plus one rounding of the result.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from acdc_fast import ops
from acdc_fast.ops import allocate, backends, cuda, reference
from acdc_fast.ops.cuda import plan as cuda_plan
from acdc_fast.ops.cuda import strips as cuda_strips
from acdc_fast.ops.cuda.launch import Compiled

KINDS = [
    (torch.float32, "nchw"),
    (torch.float32, "channels_last"),
    (torch.float16, "channels_last"),
    (torch.bfloat16, "nchw"),
]
FLOAT32 = 4e-6
SHAPES = random.Random(7)


def error(a: Tensor, truth: Tensor) -> float:
    assert a.shape == truth.shape
    assert torch.isfinite(a).all(), "something was never written"
    return float((a.double() - truth).abs().max() / truth.abs().max().clamp_min(1e-30))


def compare(
    names: Sequence[str], got: Sequence[Tensor], run: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor],
    wrt: Sequence[int],
    grads: Sequence[Tensor], got_grads: Sequence[Tensor], dtype: torch.dtype,
) -> None:  # fmt: skip
    """``run(*inputs)`` is the oracle; ``wrt``: which inputs have the gradients ``got_grads``, for output gradients
    ``grads``."""

    def oracle(kind: torch.dtype) -> list[Tensor]:
        xs = [x.detach().to(kind).requires_grad_(i in wrt) for i, x in enumerate(inputs)]
        outs = run(*xs)
        total = sum((o.double() * g.double()).sum() for o, g in zip(outs, grads, strict=True))
        return [*(o.detach() for o in outs), *(torch.autograd.grad(total, [xs[i] for i in wrt]) if wrt else ())]

    truth = oracle(torch.float64)
    eager = truth if dtype == torch.float32 else oracle(dtype)
    labels = [*names, *(f"grad {i}" for i in wrt)]
    for label, a, t, e in zip(labels, [*got, *got_grads], truth, eager, strict=True):
        limit = FLOAT32 if dtype == torch.float32 else 2 * error(e, t) + torch.finfo(dtype).eps
        assert error(a, t) <= limit, f"{label}: {error(a, t):.2e}, allowed {limit:.2e}"


def shape(most: int = 24) -> tuple[int, int]:
    return SHAPES.randint(3, most), SHAPES.randint(3, most)


def embedding_of(b: int, c: int, h: int, w: int, dtype: torch.dtype, kind: str) -> Tensor:
    x = torch.randn(b, c, h, w).to(dtype)
    if kind == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    return x.transpose(2, 3).contiguous().transpose(2, 3) if kind == "strided" else x


@pytest.mark.parametrize("dtype,kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), shape(), shape(40), (16, 32)])
def test_spatial_softmax_and_mask(emulator: Compiled, dtype: torch.dtype, size: tuple[int, int], kind: str) -> None:
    torch.manual_seed(sum(size))
    x = embedding_of(2, 3, *size, dtype, kind)
    grads = [torch.randn(2, 3, 2), torch.randn(2, 3, 3), torch.randn(2, 3)]
    with allocate.poison():
        got = cuda.spatial_softmax.forward(x)
        grad = cuda.spatial_softmax.backward(*grads, x, *got)
        assert grad.dtype == dtype and grad.stride() == allocate.empty_image(x, 3).stride()
        mask, high, low, argmax, argmin, winner = cuda.attention_mask.forward(x)
        of_mask = torch.randn(mask.shape)
        grad_mask = cuda.attention_mask.backward(of_mask, x, mask, high, low, argmax, argmin, winner)
    leaf = x.double().requires_grad_()  # kernels compute in float32; only the result is rounded to 16 bits
    moments = reference.spatial_softmax(leaf)
    limit = FLOAT32 if dtype == torch.float32 else FLOAT32 + torch.finfo(dtype).eps
    if size != (1, 1):
        for a, t in zip(got, moments, strict=False):
            assert error(a, t.detach()) <= FLOAT32
        (truth,) = torch.autograd.grad(sum((m * g).sum() for m, g in zip(moments, grads, strict=True)), leaf)
        assert error(grad, truth) <= limit
        level = reference.attention_mask(leaf)
        assert error(mask, level.detach()) <= FLOAT32
        (truth,) = torch.autograd.grad((level * of_mask).sum(), leaf)
        assert error(grad_mask, truth) <= limit
    else:
        assert torch.equal(got[0], torch.full((2, 3, 2), 0.5))
        assert not got[1].any() and not mask.any() and not grad.any()
    assert torch.equal(high, x.flatten(2).amax(2).float()) and torch.equal(low, x.flatten(2).amin(2).float())
    assert torch.equal(x.flatten(2).gather(2, argmax[..., None].long())[..., 0].float(), high)
    assert torch.equal(x.flatten(2).gather(2, argmin[..., None].long())[..., 0].float(), low)


def test_extreme_logits(emulator: Compiled) -> None:
    """Constant maps, one hot pixel, values of ±1e4, ties: as the reference, and never NaN."""
    x = torch.zeros(1, 5, 9, 13)
    x[0, 1, 4, 5] = 1e4
    x[0, 2] = torch.linspace(-1e4, 1e4, 117).view(9, 13)
    x[0, 3, 2, 2] = x[0, 3, 7, 7] = 3.0
    x[0, 4] = -1e4
    with allocate.poison():
        got = cuda.spatial_softmax.forward(x)
        mask, _, _, argmax, argmin, winner = cuda.attention_mask.forward(x)
    truth = reference.spatial_softmax(x.double())
    for a, t in zip(got, truth, strict=False):
        assert error(a, t) <= FLOAT32
    assert error(mask, reference.attention_mask(x.double())) <= FLOAT32
    assert argmax[0].tolist() == [0, 4 * 13 + 5, 116, 2 * 13 + 2, 0] and argmin[0].tolist() == [0, 0, 0, 0, 0]
    assert winner[0, 0, 0] == -1  # no map rises above its floor there


@pytest.mark.parametrize("dtype,kind", [*KINDS, (torch.float16, "strided")])
@pytest.mark.parametrize("c,o,size", [(5, 3, shape()), (32, 40, (16, 16)), (70, 66, (5, 9))])
def test_fusion(emulator: Compiled, dtype: torch.dtype, kind: str, c: int, o: int, size: tuple[int, int]) -> None:
    torch.manual_seed(c)
    x, image, mask = embedding_of(2, c, *size, dtype, kind), torch.rand(2, 1, *size), torch.rand(2, 1, *size)
    excitation, weight, bias = torch.rand(2, 2 + 2 * c), torch.randn(o, 2 + 2 * c) / c**0.5, torch.randn(o)
    with allocate.poison():
        fused = cuda.dual_fusion.forward(image, x, mask, excitation)
        grad = torch.randn_like(fused)
        grads = cuda.dual_fusion.backward(grad, image, x, mask, excitation, True)
    assert fused.dtype == dtype and fused.stride() == allocate.empty_image(x, 2 + 2 * c).stride()
    inputs = [image, x, mask, excitation]
    compare(["fused"], [fused], lambda *a: [reference.dual_fusion(*a)], inputs, range(4), [grad], grads, dtype)
    with allocate.poison():
        out = cuda.dual_fusion_conv1x1.forward(image, x, mask, excitation, weight, bias)
        grad = torch.randn_like(out)
        grads = cuda.dual_fusion_conv1x1.backward(grad, image, x, mask, excitation, weight, True)
    assert out.dtype == dtype and out.stride() == allocate.empty_image(x, o).stride()
    inputs += [weight, bias]
    compare(["out"], [out], lambda *a: [reference.dual_fusion_conv1x1(*a)], inputs, range(6), [grad], grads, dtype)


#: width, stream channels, height, width, maps, split, outputs, most rows of a strip
GEOMETRIES = [
    (6, 4, 9, 11, 7, 4, 5, 4),  # nothing a multiple of anything
    (16, 12, 12, 40, 40, 23, 16, 64),  # rows of 16-byte loads, two strips side by side
    (8, 8, 17, 9, 5, 5, 3, 5),  # the 2D stream alone, all channels
    (8, 6, 6, 8, 9, 0, 9, 64),  # the 3D stream alone
    (52, 50, 4, 8, 20, 10, 24, 2),  # more stream channels than one block accumulates
]


@pytest.mark.parametrize("dtype,kind", KINDS)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_geometry_transfer(
    emulator: Compiled, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, kind: str, geometry: tuple[int, ...]
) -> None:
    c, k, h, w, maps, split, o, rows = geometry
    monkeypatch.setattr(cuda_strips, "MOST_ROWS", rows)
    run_geometry(c, k, h, w, maps, split, o, dtype, kind)


def saved_by_oracle(
    x: Tensor, depthwise: Tensor, transfer: Tensor, split: int, masked: list[bool]
) -> tuple[Tensor, ...]:
    """What backward gets from forward, in float64's opinion: which pixel is highest and which map wins is a matter of
    rounding where two are close, and moves whole gradients; with these saved the two sides speak of the same ones."""
    logits = reference.geometry_logits(x.double(), depthwise.double(), transfer.double(), split)
    moments, flat = reference.spatial_softmax(logits), logits.flatten(2)
    levels = torch.cat([reference.attention_mask(logits[:, i : i + 1]) for i in range(len(masked))], dim=1)
    mask, winner = (levels * torch.tensor(masked)[:, None, None]).max(1, keepdim=True)
    floats = [t.float() for t in (*moments, mask, flat.amax(2), flat.amin(2))]
    return (*floats, flat.argmax(2).int(), flat.argmin(2).int(), winner[:, 0].int())


def run_geometry(c: int, k: int, h: int, w: int, maps: int, split: int, o: int, dtype: torch.dtype, kind: str) -> None:
    torch.manual_seed(h * w)
    x, streams = embedding_of(2, c, h, w, dtype, kind), (split > 0) + (split < maps)
    depthwise, transfer = torch.randn(streams, k, 3, 3) / 3, torch.randn(maps, k) / k**0.5 * 2
    masked = [i % 5 != 1 for i in range(maps)]
    with allocate.poison():
        mean, covariance, peak, mask, *saved = cuda.geometry_transfer.forward(x, depthwise, transfer, split, masked)
        got = [mean, covariance, peak, mask]
        grads = [torch.randn(t.shape) for t in got]
        own = (mean, covariance, peak, mask, *saved)
        kept = own if dtype == torch.float32 else saved_by_oracle(x, depthwise, transfer, split, masked)
        got_grads = cuda.geometry_transfer.backward(*grads, x, depthwise, transfer, split, *kept)

    def oracle(*inputs: Tensor) -> list[Tensor]:
        moments, level = reference.geometry_transfer(*inputs, split, masked)
        return [*moments, level]

    inputs = [x, depthwise, transfer]
    names = ["mean", "covariance", "peak", "mask"]
    if dtype == torch.float32:
        compare(names, got, oracle, inputs, range(3), grads, got_grads, dtype)
    else:
        compare(names, got, oracle, inputs, [], grads, [], dtype)
        leaves = [t.double().requires_grad_() for t in inputs]
        total = sum((o * g).sum() for o, g in zip(oracle(*leaves), grads, strict=True))
        for a, t in zip(got_grads, torch.autograd.grad(total, leaves), strict=True):
            # Logits up to 8 are computed again, with errors of about eps·8/2; exp and all that follows inherit them.
            assert error(a, t) <= 8 * torch.finfo(dtype).eps

    high, low = saved[:2]
    image, excitation = torch.rand(2, 1, h, w), torch.rand(2, 2 + 2 * c)
    weight, bias = torch.randn(o, 2 + 2 * c) / c**0.5, torch.randn(o)
    with allocate.poison():
        out, again = cuda.cascade_transition.forward(
            x, depthwise, transfer, split, masked, high, low, image, excitation, weight, bias
        )
    assert torch.equal(again, mask) and out.stride() == allocate.empty_image(x, o).stride()
    rest = [image, x, mask, excitation, weight, bias]
    compare(
        ["out"], [out], lambda *a: [reference.dual_fusion_conv1x1(*a)], rest, [], [torch.zeros_like(out)], [], dtype
    )


def test_where_no_strip_fits(emulator: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    """With little shared memory, logits and fused features are stored: the results are the same."""
    monkeypatch.setattr(cuda_plan, "EMULATED_SHARED", 9 << 10)
    run_geometry(20, 14, 8, 9, 24, 11, 34, torch.float32, "nchw")
    test_fusion(emulator, torch.float32, "channels_last", 32, 40, (6, 6))


def test_more_maps_than_a_block_takes(emulator: Compiled) -> None:
    run_geometry(4, 3, 5, 6, 300, 180, 4, torch.float32, "nchw")


def test_same_bits_in_any_order_of_blocks(emulator: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_strips, "MOST_ROWS", 3)
    torch.manual_seed(0)
    x, depthwise, transfer = torch.randn(2, 6, 10, 12), torch.randn(2, 4, 3, 3), torch.randn(9, 4)
    runs = []
    for seed in (1, 2):
        emulator.library.emulator_reset(seed)
        out = cuda.geometry_transfer.forward(x, depthwise, transfer, 5, [True] * 9)
        ones = [torch.ones_like(t) for t in out[:4]]
        runs.append([*out, *cuda.geometry_transfer.backward(*ones, x, depthwise, transfer, 5, *out)])
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a, b)


def test_through_the_public_ops(emulator: Compiled) -> None:
    """backend="cuda" by name, all ops in a row, with autograd: as the oracle in float64."""
    assert backends.why_not("cuda", "spatial_softmax", torch.get_default_device().type, torch.float32) is None
    torch.manual_seed(3)
    leaves = [torch.rand(1, 1, 6, 7), torch.randn(1, 4, 6, 7), torch.randn(2, 3, 3, 3), torch.randn(5, 3)]
    leaves += [torch.rand(1, 10), torch.randn(4, 10), torch.randn(4)]

    def run(xs: list[Tensor], backend: str) -> Tensor:
        image, embedding, depthwise, transfer, excitation, weight, bias = xs
        moments, mask = ops.geometry_transfer(embedding, depthwise, transfer, 2, [True] * 5, backend=backend)
        fused = ops.dual_fusion(image, embedding, mask, excitation, backend=backend)
        out = ops.dual_fusion_conv1x1(image, embedding, mask, excitation, weight, bias, backend=backend)
        again, level = ops.spatial_softmax(out, backend=backend), ops.attention_mask(fused, backend=backend)
        return sum((t**2).sum() for t in (*moments, fused, out, *again, level))

    ours = [x.clone().requires_grad_() for x in leaves]
    truth = [x.double().requires_grad_() for x in leaves]
    total, exact = run(ours, "cuda"), run(truth, "reference")
    total.backward()
    exact.backward()
    assert abs(total.item() - exact.item()) <= FLOAT32 * abs(exact.item())
    for a, t in zip(ours, truth, strict=True):
        assert a.grad is not None and t.grad is not None and error(a.grad, t.grad) <= 4 * FLOAT32  # through five ops


def test_ties_fall_as_on_the_cpu(emulator: Compiled) -> None:
    """Logits of three values, so that maps have plateaus and several maps share a pixel's level: the same extremes, the
    same winner everywhere as the reference, which takes the first of equals, and so the CPU's gradient."""
    torch.manual_seed(4)
    x = torch.randint(-1, 2, (2, 6, 9, 11)).float()
    mask, high, low, argmax, argmin, winner = cuda.attention_mask.forward(x)
    flat = x.flatten(2)
    assert torch.equal(argmax.long(), (flat == high[..., None]).int().argmax(2))
    assert torch.equal(argmin.long(), (flat == low[..., None]).int().argmax(2))
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    grad = torch.randn(mask.shape)
    for leaf, backend in zip(leaves, ("cuda", "native"), strict=True):
        ops.attention_mask(leaf, backend=backend).backward(grad)
    ours, cpu = (leaf.grad for leaf in leaves)
    assert ours is not None and cpu is not None and error(ours, cpu.double()) <= FLOAT32
    levels = torch.cat([reference.attention_mask(x[:, i : i + 1].double()) for i in range(6)], dim=1)
    assert torch.equal(winner[mask[:, 0] > 0].long(), levels.argmax(1)[mask[:, 0] > 0])
