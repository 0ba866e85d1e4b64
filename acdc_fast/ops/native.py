"""Backend `native`: hands the tensors' memory to the C++ kernels of acdc_fast._native.

The kernels read float32, images channels last; batch norm's read bfloat16 too, as its bits. Tensors are passed as numpy
views; what has another layout or dtype is copied at this door.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _native
from .allocate import empty, empty_image

Array = Any


def why_not(device: str, dtype: torch.dtype) -> str | None:
    if not hasattr(_native, "batch_norm_relu_backward"):
        return f"{_native.__file__} is of an older version; build it again with `pip install -e .`"
    if device != "cpu":
        return f"its kernels read the CPU's memory, not {device}; use backend='auto'"
    if dtype == torch.float64:
        return "its kernels compute in float32; use backend='reference' for float64"
    return None


def _isa() -> str:
    return os.environ.get("ACDC_ISA", "")


def _view(x: Tensor) -> Array:
    return x.detach().numpy()


def _flat(x: Tensor) -> Array:
    """Float32 (or index) array in C order, copied only if it has another layout."""
    return x.detach().contiguous().numpy()


def _pixels(x: Tensor) -> Array:
    """(B, C, H, W) of any dtype and layout → (B, H, W, C) float32 in C order."""
    return x.detach().permute(0, 2, 3, 1).to(torch.float32).contiguous().numpy()


def _rows_of_channels(x: Tensor) -> Array:
    """(B, C, H, W) → (B·H·W, C) in C order: bfloat16 as its bits, in uint16, any other dtype as float32."""
    nhwc = x.detach().permute(0, 2, 3, 1)
    array = nhwc.contiguous().view(torch.uint16).numpy() if x.dtype == torch.bfloat16 else _pixels(x)
    return array.reshape(-1, x.shape[1])


class _Image:
    """A result (B, channels, H, W) with layout and dtype of ``like``; kernels fill `array`, (B, H, W, channels).

    With ``bits`` the array of a bfloat16 result is that of its bits, in uint16.
    """

    def __init__(self, like: Tensor, channels: int, bits: bool = False) -> None:
        self.tensor = empty_image(like, channels)
        nhwc = self.tensor.permute(0, 2, 3, 1)
        self._buffer, bits = nhwc, bits and nhwc.dtype == torch.bfloat16
        if not (bits or nhwc.dtype == torch.float32) or not nhwc.is_contiguous():
            self._buffer = empty(nhwc.shape, like, nhwc.dtype if bits else None)
        self.array = (self._buffer.view(torch.uint16) if bits else self._buffer).numpy()

    def finish(self) -> Tensor:
        if self._buffer.data_ptr() != self.tensor.data_ptr():
            self.tensor.copy_(self._buffer.permute(0, 3, 1, 2))
        return self.tensor


def _joined(array: Array) -> Array:
    """(B, H, W, C) → (B, P, C); a view."""
    return array.reshape(array.shape[0], -1, array.shape[3])


def _rows(x: Tensor) -> Array:
    """(B, 1, H, W) → (B, P)."""
    return _flat(x).reshape(x.shape[0], -1)


def _new_statistics(like: Tensor, shape: tuple[int, int], names: Sequence[str]) -> dict[str, Tensor]:
    last = {"mean": (2,), "covariance": (3,)}
    return {
        n: empty((*shape, *last.get(n, ())), like, torch.int32 if n.startswith("arg") else None) for n in names
    }


def _arrays(statistics: dict[str, Tensor]) -> dict[str, Array]:
    return {name: _flat(x) for name, x in statistics.items()}


class spatial_softmax:
    @staticmethod
    def forward(logits: Tensor) -> tuple[Tensor, ...]:
        names = ("mean", "covariance", "peak", "high", "argmax")
        out = _new_statistics(logits, (logits.shape[0], logits.shape[1]), names)
        _native.spatial_softmax_forward(_flat(logits.float()), _arrays(out), torch.get_num_threads(), _isa())
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
        grads = _flat(grad_mean), _flat(grad_covariance), _flat(grad_peak)
        out = empty(logits.shape, logits)
        _native.spatial_softmax_backward(
            *grads, _flat(logits.float()), _arrays(maps), _view(out), torch.get_num_threads(), _isa()
        )
        return _like_image(out, logits)


class attention_mask:
    @staticmethod
    def forward(logits: Tensor) -> tuple[Tensor, ...]:
        b, maps, h, w = logits.shape
        out = _new_statistics(logits, (b, maps), ("high", "low", "argmax", "argmin"))
        mask, winner = empty((b, 1, h, w), logits), empty((b, h, w), logits, torch.int32)
        _native.attention_mask_forward(
            _flat(logits.float()), _arrays(out), _view(mask), _view(winner), torch.get_num_threads(), _isa()
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
            _flat(grad_mask),
            _flat(logits.float()),
            _flat(mask),
            _arrays(maps),
            _flat(winner),
            _view(out),
            torch.get_num_threads(),
            _isa(),
        )
        return _like_image(out, logits)


def _like_image(x: Tensor, like: Tensor) -> Tensor:
    """``x`` itself if it has the layout and dtype of `empty_image`, else a copy that has."""
    out = empty_image(like, like.shape[1])
    return x if out.stride() == x.stride() and out.dtype == x.dtype else out.copy_(x)


class dual_fusion:
    @staticmethod
    def forward(image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor) -> Tensor:
        out = _Image(embedding, excitation.shape[1])
        _native.dual_fusion_forward(
            _rows(image),
            _joined(_pixels(embedding)),
            _rows(mask),
            _flat(excitation),
            _joined(out.array),
            torch.get_num_threads(),
            _isa(),
        )
        return out.finish()

    @staticmethod
    def backward(
        grad_fused: Tensor, image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, image_grad: bool
    ) -> tuple[Tensor, ...]:
        grad_image = empty(image.shape if image_grad else (0,), mask)
        grad_embedding = _Image(embedding, embedding.shape[1])
        grad_mask, grad_excitation = empty(mask.shape, mask), empty(excitation.shape, mask)
        _native.dual_fusion_backward(
            _joined(_pixels(grad_fused)),
            _rows(image),
            _joined(_pixels(embedding)),
            _rows(mask),
            _flat(excitation),
            _rows(grad_image) if image_grad else None,
            _joined(grad_embedding.array),
            _rows(grad_mask),
            _view(grad_excitation),
            torch.get_num_threads(),
            _isa(),
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
        out = _Image(embedding, weight.shape[0])
        _native.dual_fusion_conv1x1_forward(
            _rows(image),
            _joined(_pixels(embedding)),
            _rows(mask),
            _flat(_fold(weight, excitation)),
            _flat(bias),
            _joined(out.array),
            torch.get_num_threads(),
            _isa(),
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
        grad_embedding = _Image(embedding, embedding.shape[1])
        grad_mask, grad_folded = empty(mask.shape, mask), empty(folded.shape, mask)
        grad_bias = empty(weight.shape[:1], mask)
        _native.dual_fusion_conv1x1_backward(
            _joined(_pixels(grad_out)),
            _rows(image),
            _joined(_pixels(embedding)),
            _rows(mask),
            _flat(folded),
            _flat(folded.transpose(2, 3)),
            _rows(grad_image) if image_grad else None,
            _joined(grad_embedding.array),
            _rows(grad_mask),
            _view(grad_folded),
            _view(grad_bias),
            torch.get_num_threads(),
            _isa(),
        )
        grad_scaled = _unfold(grad_folded)  # (B, 2 + 2C, O)
        grad_weight = (grad_scaled * excitation[:, :, None]).sum(0).t().contiguous()
        grad_excitation = (grad_scaled * weight.t()).sum(2)
        return grad_image, grad_embedding.finish(), grad_mask, grad_excitation, grad_weight, grad_bias


class geometry_transfer:
    _names = ("mean", "covariance", "peak", "high", "low", "argmax", "argmin")

    @classmethod
    def forward(
        cls, embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, masked: Sequence[bool]
    ) -> tuple[Tensor, ...]:
        b, _, h, w = embedding.shape
        out = _new_statistics(embedding, (b, transfer.shape[0]), cls._names)
        mask, winner = empty((b, 1, h, w), embedding), empty((b, h, w), embedding, torch.int32)
        _native.geometry_transfer_forward(
            _pixels(embedding),
            _flat(depthwise),
            _flat(transfer),
            split,
            np.array(masked, dtype=np.uint8),
            _arrays(out),
            _view(mask),
            _view(winner),
            torch.get_num_threads(),
            _isa(),
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
            "grad_mean": _flat(grad_mean),
            "grad_covariance": _flat(grad_covariance),
            "grad_peak": _flat(grad_peak),
            "grad_mask": _flat(grad_mask),
        }
        statistics = (mean, covariance, peak, high, low, argmax, argmin)
        grad_embedding = _Image(embedding, embedding.shape[1])
        grad_depthwise, grad_transfer = empty(depthwise.shape, depthwise), empty(transfer.shape, depthwise)
        _native.geometry_transfer_backward(
            grads,
            _pixels(embedding),
            _flat(depthwise),
            _flat(transfer),
            split,
            _arrays(dict(zip(cls._names, statistics, strict=True))),
            _flat(mask),
            _flat(winner),
            grad_embedding.array,
            _view(grad_depthwise),
            _view(grad_transfer),
            torch.get_num_threads(),
            _isa(),
        )
        return grad_embedding.finish(), grad_depthwise, grad_transfer


class batch_norm_relu:
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        c = x.shape[1]
        out, mean, variance = _Image(x, c, bits=True), empty((c,), x), empty((c,), x)
        _native.batch_norm_relu_forward(
            _rows_of_channels(x),
            _flat(weight),
            _flat(bias),
            eps,
            out.array.reshape(-1, c),
            _view(mean),
            _view(variance),
            torch.get_num_threads(),
            _isa(),
        )
        return out.finish(), mean, variance

    @staticmethod
    def backward(
        grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        c = x.shape[1]
        grad_x, grad_weight, grad_bias = _Image(x, c, bits=True), empty((c,), x), empty((c,), x)
        _native.batch_norm_relu_backward(
            _rows_of_channels(grad.to(x.dtype)),
            _rows_of_channels(x),
            _flat(weight),
            _flat(bias),
            _flat(mean),
            _flat(variance),
            eps,
            grad_x.array.reshape(-1, c),
            _view(grad_weight),
            _view(grad_bias),
            torch.get_num_threads(),
            _isa(),
        )
        return grad_x.finish(), grad_weight, grad_bias
