"""The geometry transfer network in one op, eq. 1 to 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..types import Moments
from . import checks, reference
from .allocate import compute_dtype, empty, empty_image
from .backends import choose, provider


def geometry_transfer(
    embedding: Tensor,
    depthwise: Tensor,
    transfer: Tensor,
    split: int,
    masked: Sequence[bool],
    backend: str | None = None,
) -> tuple[Moments, Tensor]:
    """The geometry transfer network in one op (eq. 1 to 4), differentiable. It need not store logits or maps.

    embedding (B, C, H, W); depthwise (S, K, 3, 3), one for each stream with maps; transfer (L, K), the chained 1×1
    layers folded. The first ``split`` maps read the first K channels, the others the last K. masked: L flags, which
    maps enter the mask. Returns the moments of all L maps and the mask Φ (B, 1, H, W), in float32 (float64 for
    float64), computed in that type also under autocast. Raises `InputError` for arguments that do not fit and
    `BackendUnavailable` for a named backend that cannot run.
    """
    op = "geometry_transfer"
    checks.tensor(op, "embedding", embedding, ("B", "C", "H", "W"))
    checks.not_empty(op, "embedding", embedding)
    checks.tensor(op, "transfer", transfer, ("L", "K"))
    maps, k = transfer.shape
    if not 0 < k <= embedding.shape[1]:
        raise InputError(f"{op}: transfer reads {k} channels, but embedding has {embedding.shape[1]}")
    if not 0 <= split <= maps or maps == 0:
        raise InputError(f"{op}: split must lie in 0..{maps}, the number of maps in transfer, not {split}")
    checks.tensor(op, "depthwise", depthwise, (int(split > 0) + int(split < maps), k, 3, 3))
    if len(masked) != maps or not any(masked):
        raise InputError(f"{op}: masked must hold {maps} flags, one for each map, at least one set; not {len(masked)}")
    checks.same_device(op, ("embedding", embedding), ("depthwise", depthwise), ("transfer", transfer))
    name = choose(op, backend, embedding.device.type, embedding.dtype)
    compute = compute_dtype(embedding.dtype)
    depthwise, transfer = depthwise.to(compute), transfer.to(compute)
    if name == "reference":
        with torch.autocast(embedding.device.type, enabled=False):
            return reference.geometry_transfer(embedding.to(compute), depthwise, transfer, split, masked)
    mean, covariance, peak, mask, *_ = _forward(embedding, depthwise, transfer, split, list(masked), name)
    return Moments(mean, covariance, peak), mask


_Nine = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@torch.library.custom_op("acdc_fast::geometry_transfer", mutates_args=())
def _forward(
    embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, masked: Sequence[bool], backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    out: _Nine = provider(backend, "geometry_transfer").forward(embedding, depthwise, transfer, split, masked)
    return out


@_forward.register_fake
def _(
    embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, masked: Sequence[bool], backend: str
) -> tuple[Tensor, ...]:
    b, _, h, w = embedding.shape
    maps = (b, transfer.shape[0])
    return (
        empty((*maps, 2), embedding),
        empty((*maps, 3), embedding),
        empty(maps, embedding),
        empty((b, 1, h, w), embedding),
        empty(maps, embedding),
        empty(maps, embedding),
        empty(maps, embedding, torch.int32),
        empty(maps, embedding, torch.int32),
        empty((b, h, w), embedding, torch.int32),
    )


@torch.library.custom_op("acdc_fast::geometry_transfer_backward", mutates_args=())
def _backward(
    grad_mean: Tensor,
    grad_covariance: Tensor,
    grad_peak: Tensor,
    grad_mask: Tensor,
    embedding: Tensor,
    depthwise: Tensor,
    transfer: Tensor,
    split: int,
    statistics: Sequence[Tensor],
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    out: tuple[Tensor, Tensor, Tensor] = provider(backend, "geometry_transfer").backward(
        grad_mean, grad_covariance, grad_peak, grad_mask, embedding, depthwise, transfer, split, *statistics
    )
    return out


@_backward.register_fake
def _(
    grad_mean: Tensor,
    grad_covariance: Tensor,
    grad_peak: Tensor,
    grad_mask: Tensor,
    embedding: Tensor,
    depthwise: Tensor,
    transfer: Tensor,
    split: int,
    statistics: Sequence[Tensor],
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        empty_image(embedding, embedding.shape[1]),
        depthwise.new_empty(depthwise.shape),
        transfer.new_empty(transfer.shape),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    embedding, depthwise, transfer, ctx.split, _, ctx.backend = inputs
    ctx.save_for_backward(embedding, depthwise, transfer, *output)


def _gradient(
    ctx: Any, grad_mean: Tensor, grad_covariance: Tensor, grad_peak: Tensor, grad_mask: Tensor, *_: Any
) -> tuple[Any, ...]:
    embedding, depthwise, transfer, *statistics = ctx.saved_tensors
    moments = grad_mean, grad_covariance, grad_peak
    grads = _backward(*moments, grad_mask, embedding, depthwise, transfer, ctx.split, statistics, ctx.backend)
    return *grads, None, None, None


_forward.register_autograd(_gradient, setup_context=_setup)
