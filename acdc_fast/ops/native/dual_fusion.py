"""`dual_fusion` of backend `native` (eq. 5 and 6): csrc/cpu/ops/dual_fusion.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import _native
from ..allocate import empty
from .arrays import Image, flat, isa, joined, pixels, rows, view


class dual_fusion:
    @staticmethod
    def forward(image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor) -> Tensor:
        out = Image(embedding, excitation.shape[1])
        _native.dual_fusion_forward(
            rows(image),
            joined(pixels(embedding)),
            rows(mask),
            flat(excitation),
            joined(out.array),
            torch.get_num_threads(),
            isa(),
        )
        return out.finish()

    @staticmethod
    def backward(
        grad_fused: Tensor, image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, image_grad: bool
    ) -> tuple[Tensor, ...]:
        grad_image = empty(image.shape if image_grad else (0,), mask)
        grad_embedding = Image(embedding, embedding.shape[1])
        grad_mask, grad_excitation = empty(mask.shape, mask), empty(excitation.shape, mask)
        _native.dual_fusion_backward(
            joined(pixels(grad_fused)),
            rows(image),
            joined(pixels(embedding)),
            rows(mask),
            flat(excitation),
            rows(grad_image) if image_grad else None,
            joined(grad_embedding.array),
            rows(grad_mask),
            view(grad_excitation),
            torch.get_num_threads(),
            isa(),
        )
        return grad_image, grad_embedding.finish(), grad_mask, grad_excitation
