"""Each GPU kernel and the reference that computes the same, at the network's sizes or at others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acdc_fast.kernels import (
    attention_mask,
    cascade_transition,
    dual_fusion,
    dual_fusion_conv1x1,
    geometry_transfer,
    spatial_softmax,
)
from acdc_fast.ops import reference


@dataclass(frozen=True)
class Case:
    """``name`` as in gpu_model.works, ``kernel`` as in configs. Both calls return the same tensors."""

    name: str
    kernel: str
    ours: Callable[[], Sequence[Tensor]]
    reference: Callable[[], Sequence[Tensor]]


def cases(
    batch: int, dtype: torch.dtype, device: str, width: int = 64, side: int = 128, maps: int = 239, split: int = 171
) -> list[Case]:
    torch.manual_seed(0)
    k = 3 * width // 4

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, device=device)

    embedding = random(batch, width, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
    image, weight, bias = random(batch, 1, side, side).abs(), random(width, 2 + 2 * width), random(width)
    depthwise, transfer = random(2, k, 3, 3) / 3, 3 * random(maps, k) / k**0.5
    excitation = torch.sigmoid(random(batch, 2 + 2 * width))
    layers = geometry_transfer.pack(depthwise, transfer, split, embedding)
    *_, high, low = geometry_transfer.statistics(embedding, layers, places=False)
    mask = cascade_transition.mask_of(embedding, layers, high, low)
    logits = reference.geometry_logits(embedding, depthwise.to(dtype), transfer.to(dtype), split).contiguous()
    stem, flags = weight.t().to(dtype).contiguous(), [True] * maps
    half = [t.to(dtype) for t in (image, embedding, mask, excitation, weight, bias)]
    layers_half = (depthwise.to(dtype), transfer.to(dtype))

    def transition() -> Sequence[Tensor]:
        out, _ = cascade_transition.transition(
            embedding, layers, high, low, image, excitation, stem, bias, mask=False
        )
        return [out]

    def transition_reference() -> Sequence[Tensor]:
        maps_ = reference.geometry_logits(embedding, *layers_half, split)
        return [reference.dual_fusion_conv1x1(half[0], embedding, reference.attention_mask(maps_), *half[3:])]

    def statistics_reference() -> Sequence[Tensor]:
        return reference.spatial_softmax(reference.geometry_logits(embedding, *layers_half, split))[:1]

    forwards = [
        Case(
            "spatial_softmax", "spatial_softmax",
            lambda: spatial_softmax.forward(logits)[:1], lambda: reference.spatial_softmax(logits)[:1],
        ),
        Case(
            "attention_mask", "attention_mask",
            lambda: attention_mask.forward(logits)[:1], lambda: [reference.attention_mask(logits)],
        ),
        Case(
            "dual_fusion", "dual_fusion",
            lambda: [dual_fusion.forward(image, embedding, mask, excitation)],
            lambda: [reference.dual_fusion(*half[:4])],
        ),
        Case(
            "dual_fusion_conv1x1", "dual_fusion_conv1x1",
            lambda: [dual_fusion_conv1x1.forward(image, embedding, mask, excitation, weight, bias)],
            lambda: [reference.dual_fusion_conv1x1(*half)],
        ),
        Case(
            "geometry_transfer, statistics", "geometry_transfer",
            lambda: geometry_transfer.statistics(embedding, layers, places=False)[:1], statistics_reference,
        ),
        Case("cascade_transition", "cascade_transition", transition, transition_reference),
    ]  # fmt: skip
    gradients = [
        ("spatial_softmax", "spatial_softmax", spatial_softmax, [logits], []),
        ("attention_mask", "attention_mask", attention_mask, [logits], []),
        ("dual_fusion", "dual_fusion", dual_fusion, [image, embedding, mask, excitation], [True]),
        (
            "dual_fusion_conv1x1", "dual_fusion_conv1x1.backward", dual_fusion_conv1x1,
            [image, embedding, mask, excitation, weight, bias], [True],
        ),
        (
            "geometry_transfer", "geometry_transfer.backward", geometry_transfer,
            [embedding, depthwise, transfer, split, flags], [],
        ),
    ]  # fmt: skip
    return forwards + [_backward(*g) for g in gradients]


def _backward(name: str, kernel: str, module: object, given: list, rest: list) -> Case:
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
