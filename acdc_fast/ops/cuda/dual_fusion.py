"""`dual_fusion` of backend `cuda` (eq. 5 and 6): csrc/cuda/dual_fusion.cuh."""

from __future__ import annotations

import torch
from torch import Tensor

from ..allocate import empty
from .launch import launch
from .plan import cdiv, flat, restored, taken, vector, wide


class dual_fusion:
    """Eq. 5 and 6, csrc/cuda/dual_fusion.cuh, on NCHW images. Images of another layout are copied."""

    @staticmethod
    def forward(image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor) -> Tensor:
        (b, c, h, w), dense = embedding.shape, embedding.contiguous()
        fused = empty((b, 2 + 2 * c, h, w), embedding, embedding.dtype)
        grid = [cdiv(h * w, 256 * vector(dense)), 1 + c, b]
        aligned = wide(dense, h * w) and wide(fused, h * w)
        launch(
            "dual_fusion_forward", embedding.dtype, grid, 0, flat(image), dense, flat(mask), flat(excitation), fused,
            c, h * w, int(aligned),
        )  # fmt: skip
        return restored(fused, embedding)

    @staticmethod
    def backward(
        grad_fused: Tensor, image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, image_grad: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        (b, c, h, w), dense = embedding.shape, embedding.contiguous()
        grad = grad_fused.to(embedding.dtype).contiguous()
        grad_image, grad_mask = (empty((b, 1, h, w), embedding, torch.float32) for _ in range(2))
        grad_embedding = empty(embedding.shape, embedding, embedding.dtype)
        blocks = cdiv(h * w, 256 * vector(dense))
        parts = empty((b, blocks, 2 + 2 * c), embedding, torch.float32)
        aligned = wide(dense, h * w) and wide(grad, h * w) and wide(grad_embedding, h * w)
        launch(
            "dual_fusion_backward", embedding.dtype, [blocks, b], taken(8 * (2 + 2 * c) * 4), grad, flat(image), dense,
            flat(mask), flat(excitation), grad_image, grad_embedding, grad_mask, parts, c, h * w, int(aligned),
        )  # fmt: skip
        return grad_image, restored(grad_embedding, embedding), grad_mask, parts.sum(1)
