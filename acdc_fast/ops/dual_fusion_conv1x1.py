"""Doubly-conditional fusion and the next U-Net's stem in one op. The fused features are never stored."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import checks, reference
from .allocate import compute_dtype, empty_image
from .backends import choose, provider
from .dual_fusion import check_fusion


def dual_fusion_conv1x1(
    image: Tensor,
    embedding: Tensor,
    mask: Tensor,
    excitation: Tensor,
    weight: Tensor,
    bias: Tensor,
    backend: str | None = None,
) -> Tensor:
    """`dual_fusion` followed by a 1×1 convolution, differentiable. The (B, 2 + 2C, H, W) features are never stored.

    image I (B, 1, H, W), embedding H (B, C, H, W), mask Φ (B, 1, H, W), excitation f(Ω) (B, 2 + 2C), weight
    (O, 2 + 2C), bias (O,). Returns (B, O, H, W) in the embedding's dtype and layout; computed in float32 (float64 for
    float64), also under autocast. Raises `InputError` for arguments that do not fit and `BackendUnavailable` for a
    named backend that cannot run.
    """
    op = "dual_fusion_conv1x1"
    check_fusion(op, image, embedding, mask, excitation)
    checks.tensor(op, "weight", weight, ("O", excitation.shape[1]))
    checks.tensor(op, "bias", bias, (weight.shape[0],))
    checks.same_device(op, ("embedding", embedding), ("weight", weight), ("bias", bias))
    name = choose(op, backend, embedding.device.type, embedding.dtype)
    compute = compute_dtype(embedding.dtype)
    image, mask, excitation = image.to(compute), mask.to(compute), excitation.to(compute)
    weight, bias = weight.to(compute), bias.to(compute)
    if name == "reference":
        with torch.autocast(embedding.device.type, enabled=False):
            result = reference.dual_fusion_conv1x1(image, embedding.to(compute), mask, excitation, weight, bias)
            return result.to(embedding.dtype)
    out: Tensor = _forward(image, embedding, mask, excitation, weight, bias, name)
    return out


@torch.library.custom_op("acdc_fast::dual_fusion_conv1x1", mutates_args=())
def _forward(
    image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, weight: Tensor, bias: Tensor, backend: str
) -> Tensor:
    out: Tensor = provider(backend, "dual_fusion_conv1x1").forward(image, embedding, mask, excitation, weight, bias)
    return out


@_forward.register_fake
def _(
    image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, weight: Tensor, bias: Tensor, backend: str
) -> Tensor:
    return empty_image(embedding, weight.shape[0])


@torch.library.custom_op("acdc_fast::dual_fusion_conv1x1_backward", mutates_args=())
def _backward(
    grad_out: Tensor,
    image: Tensor,
    embedding: Tensor,
    mask: Tensor,
    excitation: Tensor,
    weight: Tensor,
    image_grad: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    out: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor] = provider(backend, "dual_fusion_conv1x1").backward(
        grad_out, image, embedding, mask, excitation, weight, image_grad
    )
    return out


@_backward.register_fake
def _(
    grad_out: Tensor,
    image: Tensor,
    embedding: Tensor,
    mask: Tensor,
    excitation: Tensor,
    weight: Tensor,
    image_grad: bool,
    backend: str,
) -> tuple[Tensor, ...]:
    return (
        mask.new_empty(mask.shape) if image_grad else mask.new_empty(0),
        empty_image(embedding, embedding.shape[1]),
        mask.new_empty(mask.shape),
        excitation.new_empty(excitation.shape),
        weight.new_empty(weight.shape),
        weight.new_empty(weight.shape[:1]),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    image, embedding, mask, excitation, weight, _, ctx.backend = inputs
    ctx.save_for_backward(image, embedding, mask, excitation, weight)


def _gradient(ctx: Any, grad_out: Tensor) -> tuple[Any, ...]:
    image_grad = ctx.needs_input_grad[0]
    grad_image, *grads = _backward(grad_out, *ctx.saved_tensors, image_grad, ctx.backend)
    return grad_image if image_grad else None, *grads, None


_forward.register_autograd(_gradient, setup_context=_setup)
