"""The native ops, values and gradients, against the float64 reference, for each instruction set of this CPU."""

from __future__ import annotations

import pytest
import torch
from helpers.op_cases import (
    EPS,
    Case,
    close,
    flatten,
    fusion_case,
    geometry_case,
    logits_case,
    norm_case,
    small_cases,
)

from acdc_fast import _native, ops
from acdc_fast.errors import InputError
from acdc_fast.ops import native, reference
from acdc_fast.ops.allocate import poison

# No side is a multiple of a vector's lanes, of a tile or of a block of rows; single pixels, rows and columns.
SHAPES = [(1, 1, 1, 1), (2, 5, 13, 17), (1, 3, 1, 40), (3, 2, 35, 1), (1, 7, 19, 33), (1, 2, 70, 67)]


@pytest.fixture(params=_native.available_isas(), autouse=True)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ACDC_ISA", request.param)
    return str(request.param)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("op", [ops.spatial_softmax, ops.attention_mask])
def test_logits(op: object, shape: tuple[int, ...]) -> None:
    logits_case(op, shape, seed=sum(shape)).agrees()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("b", "c", "h", "w"), [(2, 1, 3, 5), (1, 3, 1, 1), (3, 17, 13, 11), (1, 16, 33, 40), (1, 35, 9, 131)]
)
@pytest.mark.parametrize("outputs", [None, 1, 16, 21])
def test_fusion(b: int, c: int, h: int, w: int, outputs: int | None) -> None:
    fusion_case(b, c, h, w, outputs, seed=c).agrees()


@pytest.mark.parametrize(
    ("b", "c", "k", "h", "w", "flat", "solid"),
    [
        (1, 1, 1, 1, 1, 1, 0),
        (2, 5, 4, 7, 9, 3, 0),
        (2, 17, 13, 33, 16, 0, 7),
        (3, 8, 6, 17, 35, 11, 5),
        (1, 20, 15, 5, 18, 33, 17),
        (1, 16, 12, 36, 37, 171, 68),
        (1, 64, 48, 18, 19, 20, 9),
    ],
)
def test_geometry_transfer(b: int, c: int, k: int, h: int, w: int, flat: int, solid: int) -> None:
    geometry_case(b, c, k, h, w, flat, solid, seed=c).agrees()


@pytest.mark.parametrize(
    ("b", "c", "h", "w", "mean"),
    [(2, 3, 5, 7, 0.0), (3, 16, 20, 20, 30.0), (1, 33, 2, 3, 1.0), (1, 4, 40, 41, -5.0)],
)
def test_batch_norm_relu(b: int, c: int, h: int, w: int, mean: float) -> None:
    norm_case(b, c, h, w, mean, seed=c).agrees()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("b", "c", "h", "w"), [(2, 3, 5, 7), (1, 33, 2, 3), (2, 16, 20, 21), (1, 1, 1, 9)])
def test_batch_norm_relu_of_bfloat16(b: int, c: int, h: int, w: int, channels_last: bool) -> None:
    """Against float64 on the same numbers: float32's error, and one rounding to bfloat16, 2⁻⁸ of a value."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    case = norm_case(b, c, h, w, seed=c)
    x = case.tensors[0].bfloat16().contiguous(memory_format=layout).requires_grad_()
    weight, bias = (t.clone().requires_grad_() for t in case.tensors[1:])
    cotangent = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).bfloat16()

    def run(backend: str, *leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
        statistics = torch.zeros_like(leaves[1]).detach(), torch.ones_like(leaves[1]).detach()
        with poison():
            y = ops.batch_norm_relu(leaves[0], *statistics, *leaves[1:], backend=backend)
            return y, *torch.autograd.grad(y, leaves, cotangent.to(y.dtype)), *statistics

    got = run("native", x, weight, bias)
    expected = run("reference", *(t.detach().double().requires_grad_() for t in (x, weight, bias)))
    assert got[0].dtype == got[1].dtype == torch.bfloat16
    for a, b_, tolerance in zip(got, expected, (1, 4, 4, 4, 1, 1), strict=True):
        rounding = 2**-8 * b_.abs() if a.dtype == torch.bfloat16 else 0
        limit = rounding + tolerance * case.tolerance * b_.abs().max()
        assert torch.isfinite(a).all()
        assert ((a.double() - b_).abs() <= limit).all()


def test_batch_norm_relu_of_bfloat16_keeps_nan_and_infinity() -> None:
    """The statistics are then not finite, and every value of the channel is NaN. The other channel stays right."""
    x = torch.ones(1, 2, 3, 3).bfloat16()
    x[0, 0, 1, 1], x[0, 1, 0, 0] = torch.nan, 2.0
    ones = torch.ones(2)
    y = ops.batch_norm_relu(x, torch.zeros(2), ones.clone(), ones, ones, backend="native")
    assert y[0, 0].isnan().all()
    assert y[0, 1].isfinite().all()


def extreme_maps() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    base = torch.randn((1, 3, 9, 21), generator=generator)
    spike = torch.full((1, 3, 9, 21), -1e4)
    spike[:, :, 4, 17] = 1e4
    constant = base.clone()
    constant[:, 1] = 0.25
    return {
        "±1e4": base.sign() * 1e4 + base,
        "one-hot": spike,
        "a constant map": constant,
        "only constant maps": torch.full((2, 3, 5, 19), -3.0),
        "denormal": base * 1e-40,
        "offset 1e4": torch.round(base * 16) / 16 + 1e4,
        "plateau": torch.round(base).clamp(-1, 1) * 40,  # many equal extremes: ties go to the first
    }


@pytest.mark.parametrize("name", extreme_maps())
@pytest.mark.parametrize("op", [ops.spatial_softmax, ops.attention_mask])
def test_extreme_logits(op: object, name: str) -> None:
    logits = extreme_maps()[name]
    # Subtracting the maximum first is exact to an ulp of it, whatever the offset: only the span matters.
    span = min((logits.amax((2, 3)) - logits.amin((2, 3))).max().item(), 100.0)
    # With all weight on one pixel the gradient is 0. What remains is the rounding of φ·(h − h̄), factors of order 1.
    floor = 1.0 if name in ("one-hot", "±1e4") else 1e-20
    Case(op, [logits], (), 4 * EPS * max(8.0, span), floor).agrees()  # type: ignore[arg-type]


def test_moments_of_sharp_maps_do_not_cancel() -> None:
    """A map of two pixels far from the origin: E[x²] − E[x]² would lose the covariance in float32."""
    logits = torch.full((1, 1, 128, 128), -200.0)
    logits[..., 126, 126], logits[..., 126, 127] = 0.0, -3.0
    got, expected = ops.spatial_softmax(logits, "native"), reference.spatial_softmax(logits.double())
    assert abs(got.covariance[0, 0, 0] / expected.covariance[0, 0, 0] - 1) < 1e-5
    assert got.covariance[0, 0, 2] == 0


def test_geometry_transfer_of_large_and_constant_maps() -> None:
    case = geometry_case(1, 4, 3, 21, 19, 5, 3, scale=300.0)
    case.tensors[2][2] = 0  # a constant map: no mask, uniform moments
    case.agrees()


@pytest.mark.parametrize("scale", [1e-12, 1e-30, 1e-38])
def test_geometry_transfer_of_maps_of_too_small_a_range(scale: float) -> None:
    """Constant in float32, so the reference in float32 has no mask and uniform moments."""
    inputs = geometry_case(2, 6, 4, 19, 37, 60, 20, seed=5)
    inputs.tensors[2].mul_(scale)
    moments, mask = ops.geometry_transfer(*inputs.tensors, *inputs.plain, backend="native")
    assert (mask == 0).all()
    assert (moments.mean - 0.5).abs().max() < 2 * EPS


@pytest.mark.parametrize("given", ["mean", "covariance", "peak", "mask", "nothing"])
def test_geometry_transfer_where_most_maps_get_no_gradient(given: str) -> None:
    """A batch labels one markup of each face. The other maps have a gradient from the mask alone."""
    case = geometry_case(2, 6, 4, 19, 37, 60, 20, seed=5)
    results, _ = case.run("native", torch.float32, False)
    generator = torch.Generator().manual_seed(2)
    cotangents = [torch.zeros_like(r) for r in results]
    if given != "nothing":
        cotangents[3] = torch.randn(results[3].shape, generator=generator)
    labelled = {"mean": 0, "covariance": 1, "peak": 2}
    if given in labelled:
        cotangent = cotangents[labelled[given]]
        cotangent[0, 50:55] = torch.randn(cotangent[0, 50:55].shape, generator=generator)  # one face's flat markup
        cotangent[1, 60:] = torch.randn(cotangent[1, 60:].shape, generator=generator)  # the other's solid one
    grads = []
    for backend, dtype in (("native", torch.float32), ("reference", torch.float64)):
        leaves = [x.to(dtype).requires_grad_() for x in case.tensors]
        with poison():
            out = flatten(case.op(*leaves, *case.plain, backend=backend))
            grads.append(torch.autograd.grad(out, leaves, [c.to(dtype) for c in cotangents]))
    close(grads[0], grads[1], 4 * case.tolerance, "gradient")


def test_geometry_transfer_leaves_out_maps_without_gradient() -> None:
    """Saved moments of maps without a gradient are not read: a NaN there changes nothing."""
    case = geometry_case(1, 6, 4, 9, 40, 60, 20)
    (embedding, depthwise, transfer), (split, _) = case.tensors, case.plain
    mean, covariance, peak, mask, *rest = native.geometry_transfer.forward(*case.tensors, *case.plain)
    grads = [torch.zeros_like(mean), torch.zeros_like(covariance), torch.zeros_like(peak), torch.randn(mask.shape)]
    grads[0][:, 60:] = 1
    spoilt = mean.clone(), covariance.clone()
    spoilt[0][:, :60] = spoilt[1][:, :60] = torch.nan
    runs = [
        native.geometry_transfer.backward(*grads, embedding, depthwise, transfer, split, *m, peak, mask, *rest)
        for m in ((mean, covariance), spoilt)
    ]
    assert all(torch.isfinite(x).all() and torch.equal(x, y) for x, y in zip(*runs, strict=True))


def test_other_layouts_and_dtypes_of_arguments() -> None:
    """Slices, transposed and expanded tensors, and channels last give the results of the contiguous copy."""
    generator = torch.Generator().manual_seed(3)
    wide = torch.randn((2, 9, 12, 20), generator=generator)
    embedding = wide[:, 1:8, ::2].transpose(2, 3)  # (2, 7, 20, 6)
    image = torch.rand((1, 1, 20, 6), generator=generator).expand(2, 1, 20, 6)
    mask = torch.rand((2, 1, 6, 20), generator=generator).transpose(2, 3)
    excitation, weight = torch.rand((16, 2)).t(), torch.randn((16, 5)).t()
    Case(ops.dual_fusion_conv1x1, [image, embedding, mask, excitation, weight, torch.randn(5)]).agrees()
    Case(ops.dual_fusion, [image, embedding, mask, excitation]).agrees()
    case = geometry_case(2, 7, 5, 20, 6, 4, 3)
    Case(case.op, [embedding, *case.tensors[1:]], case.plain, 4 * case.tolerance).agrees()
    last = case.tensors[0].contiguous(memory_format=torch.channels_last)
    Case(case.op, [last, *case.tensors[1:]], case.plain, case.tolerance).agrees()
    Case(ops.attention_mask, [wide.transpose(2, 3)[:, ::2]], (), 1e-5).agrees()
    Case(ops.spatial_softmax, [wide.transpose(2, 3)[:, ::2]], (), 1e-5).agrees()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_images_keep_the_embeddings_layout(layout: torch.memory_format) -> None:
    for name, case in small_cases().items():
        if name in ("spatial_softmax", "attention_mask"):
            continue
        i = 1 if "fusion" in name else 0
        leaves = [t.requires_grad_() for t in case.tensors]
        leaves[i] = leaves[i].detach().contiguous(memory_format=layout).requires_grad_()
        results = flat = case.op(*leaves, *case.plain, backend="native")
        if name in ("dual_fusion", "dual_fusion_conv1x1"):
            assert results.is_contiguous(memory_format=layout), name
        total = flat if isinstance(flat, torch.Tensor) else flat[0] if name == "batch_norm_relu" else flat[1]
        assert torch.autograd.grad(total.sum(), leaves[i])[0].is_contiguous(memory_format=layout), name


@pytest.mark.parametrize("name", [n for n in small_cases() if n != "batch_norm_relu"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_computes_in_float32(name: str, dtype: torch.dtype) -> None:
    """Only the first image or the logits have low precision. Results agree with float64 on the rounded input."""
    case = small_cases()[name]
    i = 1 if "fusion" in name else 0
    low = [t.to(dtype) if j == i else t for j, t in enumerate(case.tensors)]
    with poison():
        got = case.op(*low, *case.plain, backend="native")
    expected = case.op(*(t.double() for t in low), *case.plain, backend="reference")
    if "fusion" in name:
        assert got.dtype == dtype
        close([got], [expected], torch.finfo(dtype).eps, name)
    else:
        assert all(t.dtype == torch.float32 for t in flatten(got))
        close(flatten(got), flatten(expected), case.tolerance, name)


@pytest.mark.parametrize("name", small_cases())
def test_the_number_of_threads_changes_nothing(name: str) -> None:
    large = {
        "spatial_softmax": logits_case(ops.spatial_softmax, (2, 5, 40, 40)),
        "attention_mask": logits_case(ops.attention_mask, (2, 5, 70, 40)),
        "dual_fusion": fusion_case(2, 5, 50, 50, None),
        "dual_fusion_conv1x1": fusion_case(2, 5, 50, 50, 6),
        "geometry_transfer": geometry_case(2, 6, 4, 50, 30, 9, 5),
        "batch_norm_relu": norm_case(2, 5, 50, 30),
    }[name]
    before = torch.get_num_threads()
    try:
        runs = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results, grads = large.run("native", torch.float32, True)
            runs.append([*results, *grads])
    finally:
        torch.set_num_threads(before)
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_nan_logits_spread_and_stay_in_their_face() -> None:
    case = geometry_case(2, 4, 3, 6, 7, 4, 3)
    case.tensors[0][0, 0, 2, 2] = torch.nan
    (mean, *_), _ = case.op(*case.tensors, *case.plain, backend="native")
    assert torch.isnan(mean[0]).any() and not torch.isnan(mean[1]).any()


def test_stray_saved_indices_are_stopped_at_the_door() -> None:
    logits = torch.randn(1, 2, 4, 5)
    mask, high, low, argmax, argmin, winner = native.attention_mask.forward(logits)
    winner[0, 3, 4] = 2
    with pytest.raises(InputError, match="winner holds 2"):
        native.attention_mask.backward(mask, logits, mask, high, low, argmax, argmin, winner)
    argmin[0, 1], winner[0, 3, 4] = -1, 0
    with pytest.raises(InputError, match="argmin holds -1"):
        native.attention_mask.backward(mask, logits, mask, high, low, argmax, argmin, winner)
    with pytest.raises(InputError, match=r"grad_mask must have shape \(1, 1, 4, 5\)"):
        native.attention_mask.backward(mask[..., :4], logits, mask, high, low, argmax, argmin, winner)
