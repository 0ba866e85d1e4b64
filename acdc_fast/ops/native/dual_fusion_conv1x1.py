"""Backend `native`, csrc/cpu: fusion, plain and with the next convolution, and batch norm with its ReLU."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import _native
from ..allocate import empty
from .arrays import Image, flat, isa, joined, pixels, rows, rows_of_channels, view


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


def _fold(weight: Tensor, excitation: Tensor) -> Tensor:
    """Per face (M₁, M₂) of out = bias + M₁·z + mask·M₂·z, z = [image; embedding]: (B, 2, 1 + C, O)."""
    c = weight.shape[1] // 2 - 1
    scaled = weight.t() * excitation[:, :, None]  # (B, 2 + 2C, O)
    plain = torch.cat([scaled[:, :1], scaled[:, 2 : 2 + c]], dim=1)
    masked = torch.cat([scaled[:, 1:2], scaled[:, 2 + c :]], dim=1)
    return torch.stack([plain, masked], dim=1)


def _unfold(folded: Tensor) -> Tensor:
    """The rows of `_fold` back in the order of the weight's columns: (B, 2 + 2C, O)."""
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


class batch_norm_relu:
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        c = x.shape[1]
        out, mean, variance = Image(x, c, bits=True), empty((c,), x), empty((c,), x)
        _native.batch_norm_relu_forward(
            rows_of_channels(x),
            flat(weight),
            flat(bias),
            eps,
            out.array.reshape(-1, c),
            view(mean),
            view(variance),
            torch.get_num_threads(),
            isa(),
        )
        return out.finish(), mean, variance

    @staticmethod
    def backward(
        grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        c = x.shape[1]
        grad_x, grad_weight, grad_bias = Image(x, c, bits=True), empty((c,), x), empty((c,), x)
        _native.batch_norm_relu_backward(
            rows_of_channels(grad.to(x.dtype)),
            rows_of_channels(x),
            flat(weight),
            flat(bias),
            flat(mean),
            flat(variance),
            eps,
            grad_x.array.reshape(-1, c),
            view(grad_weight),
            view(grad_bias),
            torch.get_num_threads(),
            isa(),
        )
        return grad_x.finish(), grad_weight, grad_bias
