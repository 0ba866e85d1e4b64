"""`batch_norm_relu` of backend `native` (§III-D): csrc/cpu/ops/batch_norm_relu.cpp."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import _native
from ..allocate import empty
from .arrays import Image, flat, isa, rows_of_channels, view


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
