"""`spatial_softmax` of backend `cuda` (eq. 2 and 3): csrc/cuda/spatial_softmax.cuh."""

from __future__ import annotations

import torch
from torch import Tensor

from ..allocate import empty
from .launch import launch
from .plan import restored, wide


class spatial_softmax:
    @staticmethod
    def extremes(logits: Tensor) -> tuple[Tensor, ...]:
        """mean, covariance, peak, high, low, argmax, argmin of contiguous logits."""
        b, maps, h, w = logits.shape
        shapes = ((b, maps, 2), (b, maps, 3), *3 * ((b, maps),))
        out = [empty(s, logits, torch.float32) for s in shapes]
        out += [empty((b, maps), logits, torch.int32) for _ in range(2)]
        shared = 32 * 48  # the warps' partial results
        launch("spatial_softmax_forward", logits.dtype, [b * maps], shared, logits, out, h, w, wide(logits, h * w))
        return tuple(out)

    @staticmethod
    def forward(logits: Tensor) -> tuple[Tensor, ...]:
        mean, covariance, peak, high, _, argmax, _ = spatial_softmax.extremes(logits.contiguous())
        return mean, covariance, peak, high, argmax

    @staticmethod
    def backward(
        grad_mean: Tensor, grad_covariance: Tensor, grad_peak: Tensor, logits: Tensor,
        mean: Tensor, covariance: Tensor, peak: Tensor, high: Tensor, argmax: Tensor,
    ) -> Tensor:  # fmt: skip
        (b, maps, h, w), dense = logits.shape, logits.contiguous()
        grad = empty(logits.shape, logits, logits.dtype)
        small = [t.contiguous() for t in (grad_mean, grad_covariance, grad_peak)]
        saved = [t.contiguous() for t in (mean, covariance, peak, high, argmax)]
        aligned = wide(dense, h * w) and wide(grad, h * w)
        launch("spatial_softmax_backward", logits.dtype, [b * maps], 0, *small, dense, *saved, grad, h, w, int(aligned))
        return restored(grad, logits)
