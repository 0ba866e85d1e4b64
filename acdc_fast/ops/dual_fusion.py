"""Doubly-conditional fusion, eq. 5 and 6."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import checks, reference
from .allocate import compute_dtype, empty_image
from .backends import choose, provider


def dual_fusion(
    image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, backend: str | None = None
) -> Tensor:
    """Eq. 5 and 6: f(Ω) ⊙ [I, I⊙Φ, H, H⊙Φ], differentiable.

    image I (B, 1, H, W), embedding H (B, C, H, W), mask Φ (B, 1, H, W), excitation f(Ω) (B, 2 + 2C). Returns
    (B, 2 + 2C, H, W) in the embedding's dtype; computed in float32 (float64 for float64), also under autocast. Raises
    `InputError` for arguments that do not fit and `BackendUnavailable` for a named backend that cannot run.
    """
    check_fusion("dual_fusion", image, embedding, mask, excitation)
    name = choose("dual_fusion", backend, embedding.device.type, embedding.dtype)
    compute = compute_dtype(embedding.dtype)
    image, mask, excitation = image.to(compute), mask.to(compute), excitation.to(compute)
    if name == "reference":
        with torch.autocast(embedding.device.type, enabled=False):
            return reference.dual_fusion(image, embedding.to(compute), mask, excitation).to(embedding.dtype)
    fused: Tensor = _forward(image, embedding, mask, excitation, name)
    return fused


def check_fusion(op: str, image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor) -> None:
    checks.tensor(op, "embedding", embedding, ("B", "C", "H", "W"))
    checks.not_empty(op, "embedding", embedding)
    b, c, h, w = embedding.shape
    checks.tensor(op, "image", image, (b, 1, h, w))
    checks.tensor(op, "mask", mask, (b, 1, h, w))
    checks.tensor(op, "excitation", excitation, (b, 2 + 2 * c))
    others = ("image", image), ("mask", mask), ("excitation", excitation)
    checks.same_device(op, ("embedding", embedding), *others)


@torch.library.custom_op("acdc_fast::dual_fusion", mutates_args=())
def _forward(image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, backend: str) -> Tensor:
    out: Tensor = provider(backend, "dual_fusion").forward(image, embedding, mask, excitation)
    return out


@_forward.register_fake
def _(image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, backend: str) -> Tensor:
    return empty_image(embedding, excitation.shape[1])


@torch.library.custom_op("acdc_fast::dual_fusion_backward", mutates_args=())
def _backward(
    grad_fused: Tensor,
    image: Tensor,
    embedding: Tensor,
    mask: Tensor,
    excitation: Tensor,
    image_grad: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    out: tuple[Tensor, Tensor, Tensor, Tensor] = provider(backend, "dual_fusion").backward(
        grad_fused, image, embedding, mask, excitation, image_grad
    )
    return out


@_backward.register_fake
def _(
    grad_fused: Tensor,
    image: Tensor,
    embedding: Tensor,
    mask: Tensor,
    excitation: Tensor,
    image_grad: bool,
    backend: str,
) -> tuple[Tensor, ...]:
    grad_image = mask.new_empty(mask.shape) if image_grad else mask.new_empty(0)
    grad_embedding = empty_image(embedding, embedding.shape[1])
    return grad_image, grad_embedding, mask.new_empty(mask.shape), excitation.new_empty(excitation.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.backend = inputs[4]


def _gradient(ctx: Any, grad_fused: Tensor) -> tuple[Any, ...]:
    image_grad = ctx.needs_input_grad[0]
    grad_image, *grads = _backward(grad_fused, *ctx.saved_tensors, image_grad, ctx.backend)
    return grad_image if image_grad else None, *grads, None


_forward.register_autograd(_gradient, setup_context=_setup)
