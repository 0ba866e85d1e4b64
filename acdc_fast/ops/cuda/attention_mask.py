"""`attention_mask` of backend `cuda` (eq. 4): csrc/cuda/attention_mask.cuh."""

from __future__ import annotations

import torch
from torch import Tensor

from ..allocate import empty
from .launch import launch
from .plan import cdiv, restored, vector, wide
from .spatial_softmax import spatial_softmax


class attention_mask:
    @staticmethod
    def forward(logits: Tensor) -> tuple[Tensor, ...]:
        logits = logits.contiguous()
        *_, high, low, argmax, argmin = spatial_softmax.extremes(logits)
        mask, winner = attention_mask.levels(logits, high, low)
        return mask, high, low, argmax, argmin, winner

    @staticmethod
    def levels(logits: Tensor, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """Mask and winners of contiguous logits with known extremes. A map with low = high stays out."""
        b, maps, h, w = logits.shape
        mask, winner = empty((b, 1, h, w), logits, torch.float32), empty((b, h, w), logits, torch.int32)
        v = vector(logits)
        grid, shared = [cdiv(h * w, 32 * v), b], 8 * 32 * v * 8  # (level, map) of every warp, lane and pixel
        launch(
            "attention_mask_forward", logits.dtype, grid, shared, logits, high, low, mask, winner, maps, h * w,
            wide(logits, h * w),
        )  # fmt: skip
        return mask, winner

    @staticmethod
    def backward(
        grad_mask: Tensor, logits: Tensor, mask: Tensor, high: Tensor, low: Tensor,
        argmax: Tensor, argmin: Tensor, winner: Tensor,
    ) -> Tensor:  # fmt: skip
        b, maps, h, w = logits.shape
        grad = empty(logits.shape, logits, logits.dtype)
        saved = [t.contiguous() for t in (grad_mask, mask, high, low, argmax, argmin, winner)]
        launch("attention_mask_backward", logits.dtype, [maps, b], 32 * 4, *saved, grad, h * w)
        return restored(grad, logits)
