"""`spatial_softmax` of backend `native` (eq. 2 and 3): csrc/cpu/ops/spatial_softmax.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import _native
from ..allocate import empty
from .arrays import arrays, flat, isa, like_image, new_statistics, view


class spatial_softmax:
    @staticmethod
    def forward(logits: Tensor) -> tuple[Tensor, ...]:
        names = ("mean", "covariance", "peak", "high", "argmax")
        out = new_statistics(logits, (logits.shape[0], logits.shape[1]), names)
        _native.spatial_softmax_forward(flat(logits.float()), arrays(out), torch.get_num_threads(), isa())
        return tuple(out.values())

    @staticmethod
    def backward(
        grad_mean: Tensor,
        grad_covariance: Tensor,
        grad_peak: Tensor,
        logits: Tensor,
        mean: Tensor,
        covariance: Tensor,
        peak: Tensor,
        high: Tensor,
        argmax: Tensor,
    ) -> Tensor:
        maps = {"mean": mean, "covariance": covariance, "peak": peak, "high": high, "argmax": argmax}
        grads = flat(grad_mean), flat(grad_covariance), flat(grad_peak)
        out = empty(logits.shape, logits)
        _native.spatial_softmax_backward(
            *grads, flat(logits.float()), arrays(maps), view(out), torch.get_num_threads(), isa()
        )
        return like_image(out, logits)
