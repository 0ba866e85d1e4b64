"""`geometry_transfer` of backend `cuda`: statistics of all maps, mask, gradients. Logits are never stored."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import ContextDecorator

import torch
from torch import Tensor

from .. import reference
from ..allocate import empty, empty_image
from .attention_mask import attention_mask
from .launch import launch
from .plan import Layout, cdiv, dense_image, pack_fragments, round16
from .spatial_softmax import spatial_softmax
from .strips import MOST_TILES, Layers, entering, pack, place, plan

CHANNEL_BLOCK = 48  # channels that one block of the gradient kernel accumulates


class geometry_transfer:
    """csrc/cuda/geometry_*.cuh. If no strip fits a block's shared memory, the logits are stored, and the two ops that
    read logits follow."""

    @staticmethod
    def statistics(embedding: Tensor, layers: Layers) -> list[Tensor] | None:
        """mean, covariance, peak, high, low, argmax, argmin of all maps. None if no strip fits."""
        embedding = dense_image(embedding)
        b, maps = embedding.shape[0], len(layers.transfer)
        p = plan(embedding, layers)
        if p is None:
            return None
        parts = empty((b, p.strips, maps, 12), embedding, torch.float32)
        launch(
            "geometry_transfer_statistics", embedding.dtype, [p.strips, cdiv(p.tiles, MOST_TILES), b], p.shared,
            embedding, layers.depthwise, layers.fragments, parts, p.s, place(embedding),
        )  # fmt: skip
        out = [empty(s, embedding, torch.float32) for s in ((b, maps, 2), (b, maps, 3), *3 * ((b, maps),))]
        out += [empty((b, maps), embedding, torch.int32) for _ in range(2)]
        launch(
            "geometry_transfer_combine", torch.float32, [cdiv(b * maps, 128)], 0, parts, out, maps, p.strips,
            p.s.height, p.s.width, ctypes.c_longlong(b * maps), block=128,
        )  # fmt: skip
        return out

    @staticmethod
    def mask(
        embedding: Tensor, layers: Layers, masked: Sequence[bool], high: Tensor, low: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """The mask (B, 1, H, W) and its winners (B, H, W), from the maps' extremes. None if no strip fits."""
        embedding = dense_image(embedding)
        b, _, h, w = embedding.shape
        p = plan(embedding, layers, "mask")
        if p is None:
            return None
        mask, winner = empty((b, 1, h, w), embedding, torch.float32), empty((b, h, w), embedding, torch.int32)
        launch(
            "geometry_transfer_mask", embedding.dtype, [p.strips, 1, b], p.shared, embedding, layers.depthwise,
            layers.fragments, high, low, entering(masked, embedding.device), mask, winner, p.s, place(embedding),
        )  # fmt: skip
        return mask, winner

    @staticmethod
    def forward(
        embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, masked: Sequence[bool]
    ) -> tuple[Tensor, ...]:
        embedding, layers = dense_image(embedding), pack(depthwise, transfer, split, embedding.dtype)
        out = geometry_transfer.statistics(embedding, layers)
        if out is None:
            return _stored_forward(embedding, depthwise, transfer, split, masked)
        mean, covariance, peak, high, low, argmax, argmin = out
        found = geometry_transfer.mask(embedding, layers, masked, high, low)
        if found is None:
            return _stored_forward(embedding, depthwise, transfer, split, masked)
        return mean, covariance, peak, found[0], high, low, argmax, argmin, found[1]

    @staticmethod
    def backward(
        grad_mean: Tensor, grad_covariance: Tensor, grad_peak: Tensor, grad_mask: Tensor,
        embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, mean: Tensor, covariance: Tensor,
        peak: Tensor,
        mask: Tensor, high: Tensor, low: Tensor, argmax: Tensor, argmin: Tensor, winner: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        embedding = dense_image(embedding)
        (b, c, h, w), maps, (streams, k) = embedding.shape, transfer.shape[0], depthwise.shape[:2]
        grads = [t.contiguous() for t in (grad_mean, grad_covariance, grad_peak)]
        saved = [t.contiguous() for t in (mean, covariance, peak, high, low)]
        grad_mask, mask, winner, argmax, argmin = (t.contiguous() for t in (grad_mask, mask, winner, argmax, argmin))
        layers = pack(depthwise, transfer, split, embedding.dtype)
        p = plan(embedding, layers, "gradient")
        if p is None or p.tiles > MOST_TILES:
            return _stored_backward(
                grads, grad_mask, embedding, depthwise, transfer, split, [*saved, argmax, argmin], mask, winner
            )
        extremes = empty((b, maps, 2), embedding, torch.float32)
        launch(
            "attention_mask_extremes", torch.float32, [maps, b], 32 * 4, grad_mask, mask, saved[3], saved[4], winner,
            extremes, h * w,
        )  # fmt: skip
        taps, packed = layers.depthwise, layers.fragments
        halves = [part for part in (transfer[:split], transfer[split:]) if len(part)]
        transposed = torch.cat([pack_fragments(part.T, embedding.dtype).flatten() for part in halves])
        grad_depth = empty((b, streams, k, h * w), embedding, embedding.dtype)
        parts = empty((b * p.strips, 16 * p.tiles, k), embedding, torch.float32)
        launch(
            "geometry_transfer_gradient", embedding.dtype, [p.strips, cdiv(k, CHANNEL_BLOCK), b], p.shared,
            [*grads, *saved, extremes, argmax, argmin], grad_mask, mask, winner, embedding, taps, packed, transposed,
            grad_depth, parts, p.s, place(embedding),
        )  # fmt: skip
        slots, first = parts.sum(0), round16(split)
        grad_transfer = torch.cat([slots[:split], slots[first : first + maps - split]])
        grad_embedding, dense = empty_image(embedding, c), embedding.contiguous()
        launch(
            "depthwise_backward_input", embedding.dtype, [cdiv(h * w, 256), c, b], 0, grad_depth, taps,
            grad_embedding, p.s,
            place(grad_embedding),
        )  # fmt: skip
        tap_parts = empty((b, streams, k, 3, 3), embedding, torch.float32)
        launch(
            "depthwise_backward_weight", embedding.dtype, [streams * k, b], 32 * 4, grad_depth, dense, tap_parts, p.s,
            Layout(h * w, 1, c, 0),
        )  # fmt: skip
        return grad_embedding, tap_parts.sum(0), grad_transfer


#: Convolutions in full float32. PyTorch allows TF32 in cuDNN by default; that was off by 3e-4 on an H200.
_exact: ContextDecorator = torch.backends.cudnn.flags(
    enabled=True, benchmark=False, deterministic=False, allow_tf32=False
)


@_exact
def _stored_forward(
    embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, masked: Sequence[bool]
) -> tuple[Tensor, ...]:
    logits = reference.geometry_logits(embedding.float(), depthwise, transfer, split).contiguous()
    mean, covariance, peak, high, low, argmax, argmin = spatial_softmax.extremes(logits)
    chosen = entering(masked, embedding.device).bool()
    mask, winner = attention_mask.levels(logits, high, torch.where(chosen, low, high))
    return mean, covariance, peak, mask, high, low, argmax, argmin, winner


@_exact
def _stored_backward(
    grads: list[Tensor], grad_mask: Tensor, embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int,
    saved: list[Tensor], mask: Tensor, winner: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    mean, covariance, peak, high, low, argmax, argmin = saved
    inputs = [t.detach().float().requires_grad_() for t in (embedding, depthwise, transfer)]
    with torch.enable_grad():
        logits = reference.geometry_logits(inputs[0], inputs[1], inputs[2], split)
    values = logits.detach().contiguous()
    g_mean, g_covariance, g_peak = grads
    grad = spatial_softmax.backward(g_mean, g_covariance, g_peak, values, mean, covariance, peak, high, argmax)
    grad = grad + attention_mask.backward(grad_mask, values, mask, high, low, argmax, argmin, winner)
    of_embedding, of_depthwise, of_transfer = torch.autograd.grad(logits, inputs, grad)
    return empty_image(embedding, embedding.shape[1]).copy_(of_embedding), of_depthwise, of_transfer
