"""Batch norm over a training batch, then ReLU: the second half of each of the paper's conv blocks (§III-D)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import checks, reference
from .allocate import compute_dtype, empty, empty_image
from .backends import choose, provider


def batch_norm_relu(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    momentum: float = 0.1,
    eps: float = 1e-5,
    backend: str | None = None,
) -> Tensor:
    """ReLU of x (B, C, H, W), normalised by the batch's own mean and variance of each channel; differentiable.

    weight and bias: (C,). running_mean and running_var (C,) are updated in place, as `torch.nn.BatchNorm2d` does in
    training. Returns x's shape, dtype and layout; computed in float32 (float64 for float64). Raises `InputError` for
    arguments that do not fit and `BackendUnavailable` for a named backend that cannot run.
    """
    op = "batch_norm_relu"
    checks.tensor(op, "x", x, ("B", "C", "H", "W"))
    checks.not_empty(op, "x", x, pixels=False)
    channels = {"weight": weight, "bias": bias, "running_mean": running_mean, "running_var": running_var}
    for key, value in channels.items():
        checks.tensor(op, key, value, (x.shape[1],))
    checks.same_device(op, ("x", x), *channels.items())
    name = choose(op, backend, x.device.type, x.dtype)
    if name == "reference":
        return reference.batch_norm_relu(x, running_mean, running_var, weight, bias, momentum, eps)
    compute = compute_dtype(x.dtype)
    y: Tensor
    y, mean, variance = _forward(x, weight.to(compute), bias.to(compute), eps, name)
    n = x.numel() // x.shape[1]
    with torch.no_grad():
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((variance * (n / max(n - 1, 1))).to(running_var.dtype), momentum)
    return y


@torch.library.custom_op("acdc_fast::batch_norm_relu", mutates_args=())
def _forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    out: tuple[Tensor, Tensor, Tensor] = provider(backend, "batch_norm_relu").forward(x, weight, bias, eps)
    return out


@_forward.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, eps: float, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    channels = x.shape[1:2]
    return empty_image(x, x.shape[1]), empty(channels, x), empty(channels, x)


@torch.library.custom_op("acdc_fast::batch_norm_relu_backward", mutates_args=())
def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    out: tuple[Tensor, Tensor, Tensor] = provider(backend, "batch_norm_relu").backward(
        grad, x, weight, bias, mean, variance, eps
    )
    return out


@_backward.register_fake
def _(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    return empty_image(x, x.shape[1]), weight.new_empty(weight.shape), bias.new_empty(bias.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, bias, ctx.eps, ctx.backend = inputs
    ctx.save_for_backward(x, weight, bias, *output[1:])


def _gradient(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
    return *_backward(grad, *ctx.saved_tensors, ctx.eps, ctx.backend), None, None


_forward.register_autograd(_gradient, setup_context=_setup)
