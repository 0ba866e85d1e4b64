"""`dual_fusion_conv1x1` of backend `native` (eq. 5 and 6, then the next stem): csrc/cpu/ops/dual_fusion_conv1x1.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import _native
from ..allocate import empty
from .arrays import Image, flat, isa, joined, pixels, rows, view


def _fold(weight: Tensor, excitation: Tensor) -> Tensor:
    """(B, 2, 1 + C, O): for each face (M₁, M₂) of out = bias + M₁·z + mask·M₂·z, with z = [image; embedding]."""
    c = weight.shape[1] // 2 - 1
    scaled = weight.t() * excitation[:, :, None]  # (B, 2 + 2C, O)
    plain = torch.cat([scaled[:, :1], scaled[:, 2 : 2 + c]], dim=1)
    masked = torch.cat([scaled[:, 1:2], scaled[:, 2 + c :]], dim=1)
    return torch.stack([plain, masked], dim=1)


def _unfold(folded: Tensor) -> Tensor:
    """(B, 2 + 2C, O): the rows of `_fold`, back in the order of the weight's columns."""
    plain, masked = folded[:, 0], folded[:, 1]
    return torch.cat([plain[:, :1], masked[:, :1], plain[:, 1:], masked[:, 1:]], dim=1)


class dual_fusion_conv1x1:
    @staticmethod
    def forward(
        image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        out = Image(embedding, weight.shape[0])
        _native.dual_fusion_conv1x1_forward(
            rows(image),
            joined(pixels(embedding)),
            rows(mask),
            flat(_fold(weight, excitation)),
            flat(bias),
            joined(out.array),
            torch.get_num_threads(),
            isa(),
        )
        return out.finish()

    @staticmethod
    def backward(
        grad_out: Tensor,
        image: Tensor,
        embedding: Tensor,
        mask: Tensor,
        excitation: Tensor,
        weight: Tensor,
        image_grad: bool,
    ) -> tuple[Tensor, ...]:
        folded = _fold(weight, excitation)
        grad_image = empty(image.shape if image_grad else (0,), mask)
        grad_embedding = Image(embedding, embedding.shape[1])
        grad_mask, grad_folded = empty(mask.shape, mask), empty(folded.shape, mask)
        grad_bias = empty(weight.shape[:1], mask)
        _native.dual_fusion_conv1x1_backward(
            joined(pixels(grad_out)),
            rows(image),
            joined(pixels(embedding)),
            rows(mask),
            flat(folded),
            flat(folded.transpose(2, 3)),
            rows(grad_image) if image_grad else None,
            joined(grad_embedding.array),
            rows(grad_mask),
            view(grad_folded),
            view(grad_bias),
            torch.get_num_threads(),
            isa(),
        )
        grad_scaled = _unfold(grad_folded)  # (B, 2 + 2C, O)
        grad_weight = (grad_scaled * excitation[:, :, None]).sum(0).t().contiguous()
        grad_excitation = (grad_scaled * weight.t()).sum(2)
        return grad_image, grad_embedding.finish(), grad_mask, grad_excitation, grad_weight, grad_bias
