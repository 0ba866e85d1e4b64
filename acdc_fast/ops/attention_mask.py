"""Attention mask, eq. 4."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import checks, reference
from .allocate import compute_dtype, empty, empty_image
from .backends import choose, provider


def attention_mask(logits: Tensor, backend: str | None = None) -> Tensor:
    """Mask Φ of eq. 4: at each pixel the highest level of all maps. Each level is 0 at its minimum, 1 at its maximum.

    logits: (B, L, H, W). Returns (B, 1, H, W) in float32 (float64 for float64), computed in that type also under
    autocast; differentiable. A constant map contributes 0. Raises `InputError` for arguments that do not fit and
    `BackendUnavailable` for a named backend that cannot run.
    """
    checks.tensor("attention_mask", "logits", logits, ("B", "L", "H", "W"))
    checks.not_empty("attention_mask", "logits", logits)
    name = choose("attention_mask", backend, logits.device.type, logits.dtype)
    if name == "reference":
        with torch.autocast(logits.device.type, enabled=False):
            return reference.attention_mask(logits.to(compute_dtype(logits.dtype)))
    mask: Tensor = _forward(logits, name)[0]
    return mask


@torch.library.custom_op("acdc_fast::attention_mask", mutates_args=())
def _forward(logits: Tensor, backend: str) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    out: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor] = provider(backend, "attention_mask").forward(logits)
    return out


@_forward.register_fake
def _(logits: Tensor, backend: str) -> tuple[Tensor, ...]:
    b, maps, h, w = logits.shape
    return (
        empty((b, 1, h, w), logits),
        empty((b, maps), logits),
        empty((b, maps), logits),
        empty((b, maps), logits, torch.int32),
        empty((b, maps), logits, torch.int32),
        empty((b, h, w), logits, torch.int32),
    )


@torch.library.custom_op("acdc_fast::attention_mask_backward", mutates_args=())
def _backward(
    grad_mask: Tensor,
    logits: Tensor,
    mask: Tensor,
    high: Tensor,
    low: Tensor,
    argmax: Tensor,
    argmin: Tensor,
    winner: Tensor,
    backend: str,
) -> Tensor:
    out: Tensor = provider(backend, "attention_mask").backward(
        grad_mask, logits, mask, high, low, argmax, argmin, winner
    )
    return out


@_backward.register_fake
def _(
    grad_mask: Tensor,
    logits: Tensor,
    mask: Tensor,
    high: Tensor,
    low: Tensor,
    argmax: Tensor,
    argmin: Tensor,
    winner: Tensor,
    backend: str,
) -> Tensor:
    return empty_image(logits, logits.shape[1])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, ctx.backend = inputs
    ctx.save_for_backward(logits, *output)


def _gradient(ctx: Any, grad_mask: Tensor, *_: Any) -> tuple[Any, ...]:
    return _backward(grad_mask, *ctx.saved_tensors, ctx.backend), None


_forward.register_autograd(_gradient, setup_context=_setup)
