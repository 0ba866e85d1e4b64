"""`attention_mask` of backend `native` (eq. 4): csrc/cpu/ops/attention_mask.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import _native
from ..allocate import empty
from .arrays import arrays, flat, isa, like_image, new_statistics, view


class attention_mask:
    @staticmethod
    def forward(logits: Tensor) -> tuple[Tensor, ...]:
        b, maps, h, w = logits.shape
        out = new_statistics(logits, (b, maps), ("high", "low", "argmax", "argmin"))
        mask, winner = empty((b, 1, h, w), logits), empty((b, h, w), logits, torch.int32)
        _native.attention_mask_forward(
            flat(logits.float()), arrays(out), view(mask), view(winner), torch.get_num_threads(), isa()
        )
        return mask, *out.values(), winner

    @staticmethod
    def backward(
        grad_mask: Tensor,
        logits: Tensor,
        mask: Tensor,
        high: Tensor,
        low: Tensor,
        argmax: Tensor,
        argmin: Tensor,
        winner: Tensor,
    ) -> Tensor:
        maps = {"high": high, "low": low, "argmax": argmax, "argmin": argmin}
        out = empty(logits.shape, logits)
        _native.attention_mask_backward(
            flat(grad_mask),
            flat(logits.float()),
            flat(mask),
            arrays(maps),
            flat(winner),
            view(out),
            torch.get_num_threads(),
            isa(),
        )
        return like_image(out, logits)
