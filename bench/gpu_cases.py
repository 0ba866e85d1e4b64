"""Each GPU kernel and the reference that computes the same, at the network's sizes or at others."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from acdc_fast.ops import reference


@dataclass(frozen=True)
class Case:
    """``name`` as in gpu_model.works, ``kernel`` as in configs. Both calls return the same tensors."""

    name: str
    kernel: str
    ours: Callable[[], Sequence[Tensor]]
    reference: Callable[[], Sequence[Tensor]]


def error(case: Case) -> float:
    """Root mean square error of the worst of a case's results, relative to its size. Infinite if one is not finite."""
    worst = 0.0
    for a, b in zip(case.ours(), case.reference(), strict=True):
        off = float((a.float() - b.float()).square().mean().sqrt() / (b.float().square().mean().sqrt() + 1e-6))
        worst = max(worst, off if math.isfinite(off) else math.inf)
    return worst


#: The most that `error` may be in float32.
EXACT = 1e-3


def allowed(case: Case, dtype: torch.dtype) -> float:
    """The most that `error` may be. In half precision the reference rounds, so another map may win a pixel of the mask:
    for its gradient the error has no bound there, and float32 has to do."""
    if dtype == torch.float32:
        return EXACT
    return float("inf") if case.name == "attention_mask, backward" else 0.05


def operations(kernels: str) -> dict[str, Any]:
    """The ops of "triton" or "cuda", by name. Their forward and backward take the same arguments."""
    names = ("spatial_softmax", "attention_mask", "dual_fusion", "dual_fusion_conv1x1", "geometry_transfer")
    if kernels == "cuda":
        cuda = importlib.import_module("acdc_fast.ops.cuda")
        return {name: getattr(cuda, name) for name in names}
    return {name: importlib.import_module(f"acdc_fast.kernels.{name}") for name in names}


def one_pass(
    kernels: str, embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, weight: Tensor, bias: Tensor
) -> tuple[Callable[[], Sequence[Tensor]], Callable[..., Tensor]]:
    """Two calls: the statistics (mean first, high and low at 3 and 4), and the transition from (high, low, image,
    excitation) to the next stem's output. The layers are packed here, once, as an engine packs them."""
    dtype = embedding.dtype
    if kernels == "cuda":
        from acdc_fast.ops import cuda
        from acdc_fast.ops.cuda import strips
        from acdc_fast.ops.cuda.dual_fusion_conv1x1 import pack_stem

        packed, stem = strips.pack(depthwise, transfer, split, dtype), pack_stem(weight, bias, dtype)
        masked, outputs = (True,) * len(transfer), len(weight)
        if strips.plan(embedding, packed) is None or strips.plan(embedding, packed, "stem", outputs) is None:
            raise ValueError("no strip fits the shared memory of a block")

        def by_cuda(high: Tensor, low: Tensor, image: Tensor, excitation: Tensor) -> Tensor:
            done = cuda.cascade_transition.packed(
                embedding, packed, masked, high, low, image, excitation, stem, outputs
            )  # fmt: skip
            assert done is not None
            return done[0]

        return lambda: cuda.geometry_transfer.statistics(embedding, packed) or (), by_cuda
    from acdc_fast.kernels import cascade_transition, geometry_transfer

    layers = geometry_transfer.pack(depthwise, transfer, split, embedding)
    columns = weight.t().to(dtype).contiguous()

    def by_triton(*given: Tensor) -> Tensor:
        return cascade_transition.transition(embedding, layers, *given, columns, bias, mask=False)[0]

    return lambda: geometry_transfer.statistics(embedding, layers, places=False), by_triton


def cases(
    batch: int, dtype: torch.dtype, device: str, kernels: str = "triton",
    width: int = 64, side: int = 128, maps: int = 239, split: int = 171,
) -> list[Case]:  # fmt: skip
    ops = operations(kernels)
    torch.manual_seed(0)
    k = 3 * width // 4

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, device=device)

    embedding = random(batch, width, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
    image, weight, bias = random(batch, 1, side, side).abs(), random(width, 2 + 2 * width), random(width)
    depthwise, transfer = random(2, k, 3, 3) / 3, 3 * random(maps, k) / k**0.5
    excitation = torch.sigmoid(random(batch, 2 + 2 * width))
    statistics, transition = one_pass(kernels, embedding, depthwise, transfer, split, weight, bias)
    high, low = statistics()[3:5]
    logits = reference.geometry_logits(embedding, depthwise.to(dtype), transfer.to(dtype), split).contiguous()
    mask, flags = reference.attention_mask(logits).float(), [True] * maps
    half = [t.to(dtype) for t in (image, embedding, mask, excitation, weight, bias)]
    layers_half = (depthwise.to(dtype), transfer.to(dtype))

    def transition_reference() -> Sequence[Tensor]:
        maps_ = reference.geometry_logits(embedding, *layers_half, split)
        return [reference.dual_fusion_conv1x1(half[0], embedding, reference.attention_mask(maps_), *half[3:])]

    def statistics_reference() -> Sequence[Tensor]:
        return reference.spatial_softmax(reference.geometry_logits(embedding, *layers_half, split))[:1]

    forwards = [
        Case(
            "spatial_softmax", "spatial_softmax",
            lambda: ops["spatial_softmax"].forward(logits)[:1], lambda: reference.spatial_softmax(logits)[:1],
        ),
        Case(
            "attention_mask", "attention_mask",
            lambda: ops["attention_mask"].forward(logits)[:1], lambda: [reference.attention_mask(logits)],
        ),
        Case(
            "dual_fusion", "dual_fusion",
            lambda: [ops["dual_fusion"].forward(image, embedding, mask, excitation)],
            lambda: [reference.dual_fusion(*half[:4])],
        ),
        Case(
            "dual_fusion_conv1x1", "dual_fusion_conv1x1",
            lambda: [ops["dual_fusion_conv1x1"].forward(image, embedding, mask, excitation, weight, bias)],
            lambda: [reference.dual_fusion_conv1x1(*half)],
        ),
        Case(
            "geometry_transfer, statistics", "geometry_transfer",
            lambda: statistics()[:1], statistics_reference,
        ),
        Case(
            "cascade_transition", "cascade_transition",
            lambda: [transition(high, low, image, excitation)], transition_reference,
        ),
    ]  # fmt: skip
    gradients = [
        ("spatial_softmax", "spatial_softmax", [logits], []),
        ("attention_mask", "attention_mask", [logits], []),
        ("dual_fusion", "dual_fusion", [image, embedding, mask, excitation], [True]),
        (
            "dual_fusion_conv1x1", "dual_fusion_conv1x1.backward",
            [image, embedding, mask, excitation, weight, bias], [True],
        ),
        ("geometry_transfer", "geometry_transfer.backward", [embedding, depthwise, transfer, split, flags], []),
    ]  # fmt: skip
    return forwards + [_backward(name, kernel, ops[name], *rest) for name, kernel, *rest in gradients]


def mask_gradient(device: str, kernels: str, side: int, maps: int) -> Case:
    """The gradient of the mask in float32: in half precision nothing bounds its error (see `allowed`)."""
    torch.manual_seed(0)
    logits = torch.randn(1, maps, side, side, device=device)
    return _backward("attention_mask", "attention_mask", operations(kernels)["attention_mask"], [logits], [])


def _backward(name: str, kernel: str, module: Any, given: list, rest: list) -> Case:
    """The gradient of the sum of an op's first result."""
    saved = module.forward(*given)
    results = (saved,) if isinstance(saved, Tensor) else saved
    tensors = [t for t in given if isinstance(t, Tensor)]
    grads = [torch.ones_like(results[0])]
    if name == "spatial_softmax":
        arguments = [*grads, *(torch.zeros_like(r) for r in results[1:3]), *tensors, *results]
    elif name == "attention_mask":
        arguments = [*grads, *tensors, *results]
    elif name == "geometry_transfer":
        arguments = [*grads, *(torch.zeros_like(r) for r in results[1:4]), *given[:4], *results]
    else:
        arguments = [*grads, *(given[:-1] if name == "dual_fusion_conv1x1" else given), *rest]

    def ours() -> list[Tensor]:
        out = module.backward(*arguments)
        return [out] if isinstance(out, Tensor) else list(out)

    leaves = [t.detach().clone().to(tensors[0].dtype).requires_grad_() for t in tensors]
    if name in ("dual_fusion", "dual_fusion_conv1x1"):
        leaves = [t.detach().clone().to(given[1].dtype).requires_grad_() for t in tensors]

    def reference_() -> list[Tensor]:
        extra = [g for g in given if not isinstance(g, Tensor)]
        out = getattr(reference, name)(*leaves, *extra)
        out = out[0].mean if name == "geometry_transfer" else out[0] if name == "spatial_softmax" else out
        return list(torch.autograd.grad(out, leaves, torch.ones_like(out)))

    return Case(f"{name}, backward", kernel, ours, reference_)
