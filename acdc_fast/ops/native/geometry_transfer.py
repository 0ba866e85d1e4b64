"""`geometry_transfer` of backend `native` (eq. 1 to 4): csrc/cpu/ops/geometry_transfer.cpp."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ... import _native
from ..allocate import empty
from .arrays import Image, arrays, flat, isa, new_statistics, pixels, view


class geometry_transfer:
    _names = ("mean", "covariance", "peak", "high", "low", "argmax", "argmin")

    @classmethod
    def forward(
        cls, embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, masked: Sequence[bool]
    ) -> tuple[Tensor, ...]:
        b, _, h, w = embedding.shape
        out = new_statistics(embedding, (b, transfer.shape[0]), cls._names)
        mask, winner = empty((b, 1, h, w), embedding), empty((b, h, w), embedding, torch.int32)
        _native.geometry_transfer_forward(
            pixels(embedding),
            flat(depthwise),
            flat(transfer),
            split,
            np.array(masked, dtype=np.uint8),
            arrays(out),
            view(mask),
            view(winner),
            torch.get_num_threads(),
            isa(),
        )
        mean, covariance, peak, *extremes = out.values()
        return mean, covariance, peak, mask, *extremes, winner

    @classmethod
    def backward(
        cls,
        grad_mean: Tensor,
        grad_covariance: Tensor,
        grad_peak: Tensor,
        grad_mask: Tensor,
        embedding: Tensor,
        depthwise: Tensor,
        transfer: Tensor,
        split: int,
        mean: Tensor,
        covariance: Tensor,
        peak: Tensor,
        mask: Tensor,
        high: Tensor,
        low: Tensor,
        argmax: Tensor,
        argmin: Tensor,
        winner: Tensor,
    ) -> tuple[Tensor, ...]:
        grads = {
            "grad_mean": flat(grad_mean),
            "grad_covariance": flat(grad_covariance),
            "grad_peak": flat(grad_peak),
            "grad_mask": flat(grad_mask),
        }
        statistics = (mean, covariance, peak, high, low, argmax, argmin)
        grad_embedding = Image(embedding, embedding.shape[1])
        grad_depthwise, grad_transfer = empty(depthwise.shape, depthwise), empty(transfer.shape, depthwise)
        _native.geometry_transfer_backward(
            grads,
            pixels(embedding),
            flat(depthwise),
            flat(transfer),
            split,
            arrays(dict(zip(cls._names, statistics, strict=True))),
            flat(mask),
            flat(winner),
            grad_embedding.array,
            view(grad_depthwise),
            view(grad_transfer),
            torch.get_num_threads(),
            isa(),
        )
        return grad_embedding.finish(), grad_depthwise, grad_transfer
