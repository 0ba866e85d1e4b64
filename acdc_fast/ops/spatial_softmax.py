"""Spatial softmax and its moments, eq. 2 and 3."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..types import Moments
from . import checks, reference
from .allocate import compute_dtype, empty, empty_image
from .backends import choose, provider


def spatial_softmax(logits: Tensor, backend: str | None = None) -> Moments:
    """Softmax of each map over x and y, then its moments (eq. 2 and 3), differentiable. φ itself is not stored.

    logits: (B, L, H, W). Returns mean (B, L, 2) and covariance (B, L, 3) in crop units, and peak (B, L), the largest
    value of each map. They are float32, or float64 for float64 logits, also under autocast. Raises
    `InputError` for arguments that do not fit and `BackendUnavailable` for a named backend that cannot run.
    """
    checks.tensor("spatial_softmax", "logits", logits, ("B", "L", "H", "W"))
    checks.not_empty("spatial_softmax", "logits", logits)
    name = choose("spatial_softmax", backend, logits.device.type, logits.dtype)
    if name == "reference":
        with torch.autocast(logits.device.type, enabled=False):
            return reference.spatial_softmax(logits.to(compute_dtype(logits.dtype)))
    mean, covariance, peak, _, _ = _forward(logits, name)
    return Moments(mean, covariance, peak)


@torch.library.custom_op("acdc_fast::spatial_softmax", mutates_args=())
def _forward(logits: Tensor, backend: str) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    out: tuple[Tensor, Tensor, Tensor, Tensor, Tensor] = provider(backend, "spatial_softmax").forward(logits)
    return out


@_forward.register_fake
def _(logits: Tensor, backend: str) -> tuple[Tensor, ...]:
    maps = logits.shape[:2]
    return (
        empty((*maps, 2), logits),
        empty((*maps, 3), logits),
        empty(maps, logits),
        empty(maps, logits),
        empty(maps, logits, torch.int32),
    )


@torch.library.custom_op("acdc_fast::spatial_softmax_backward", mutates_args=())
def _backward(
    grad_mean: Tensor,
    grad_covariance: Tensor,
    grad_peak: Tensor,
    logits: Tensor,
    mean: Tensor,
    covariance: Tensor,
    peak: Tensor,
    high: Tensor,
    argmax: Tensor,
    backend: str,
) -> Tensor:
    out: Tensor = provider(backend, "spatial_softmax").backward(
        grad_mean, grad_covariance, grad_peak, logits, mean, covariance, peak, high, argmax
    )
    return out


@_backward.register_fake
def _(
    grad_mean: Tensor,
    grad_covariance: Tensor,
    grad_peak: Tensor,
    logits: Tensor,
    mean: Tensor,
    covariance: Tensor,
    peak: Tensor,
    high: Tensor,
    argmax: Tensor,
    backend: str,
) -> Tensor:
    return empty_image(logits, logits.shape[1])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, ctx.backend = inputs
    ctx.save_for_backward(logits, *output)


def _gradient(ctx: Any, grad_mean: Tensor, grad_covariance: Tensor, grad_peak: Tensor, *_: Any) -> tuple[Any, ...]:
    return _backward(grad_mean, grad_covariance, grad_peak, *ctx.saved_tensors, ctx.backend), None


_forward.register_autograd(_gradient, setup_context=_setup)
