"""The GPU engine's kernels between two U-Nets, Triton's or CUDA's: statistics, transition, mask."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..errors import BackendUnavailable

KERNELS = ("triton", "cuda")
_MODULES = {"triton": "acdc_fast.kernels", "cuda": "acdc_fast.ops.cuda"}


class Weights(NamedTuple):
    """Small layers in float32 on the engine's device."""

    depthwise: Tensor  # (S, K, 3, 3)
    transfer: Tensor  # (L, K), the chained layers folded
    split: int  # maps before it read the first K channels, the others the last K
    masked: tuple[bool, ...]  # for each map, whether it enters the mask
    stems: list[tuple[Tensor, Tensor]]  # for each U-Net, (O, 2 + 2C) and (O,)


class GPUKernels(Protocol):
    """Embeddings are (B, C, H, W) in the engine's dtype, channels last if possible."""

    name: str

    def statistics(self, embedding: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """mean (B, L, 2), covariance (B, L, 3) in crop units, high and low (B, L) of the logits."""
        ...

    def transition(
        self, embedding: Tensor, high: Tensor, low: Tensor, crops: Tensor, excitation: Tensor, stage: int, mask: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The output of the stem of U-Net ``stage``, and the mask (B, 1, H, W) if it is asked for."""
        ...

    def mask(self, embedding: Tensor, high: Tensor, low: Tensor) -> Tensor:
        """The mask alone, for the last stage."""
        ...


class Triton:
    name = "triton"

    def __init__(self, weights: Weights, dtype: torch.dtype) -> None:
        self._geometry: Any = importlib.import_module("acdc_fast.kernels.geometry_transfer")
        self._cascade: Any = importlib.import_module("acdc_fast.kernels.cascade_transition")
        device = weights.transfer.device
        like = torch.empty(1, (weights.stems[0][0].shape[1] - 2) // 2, 1, 1, dtype=dtype, device=device)
        self._layers = self._geometry.pack(weights.depthwise, weights.transfer, weights.split, like)
        self._masked = None if all(weights.masked) else torch.tensor(weights.masked, device=device)
        self._stems = [(weight.t().to(dtype).contiguous(), bias) for weight, bias in weights.stems]

    def statistics(self, embedding: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, covariance, _, high, low = self._geometry.statistics(embedding, self._layers, places=False)
        return mean, covariance, high, self._geometry.lowered(low, high, self._masked)

    def transition(
        self, embedding: Tensor, high: Tensor, low: Tensor, crops: Tensor, excitation: Tensor, stage: int, mask: bool
    ) -> tuple[Tensor, Tensor | None]:
        return self._cascade.transition(  # type: ignore[no-any-return]
            embedding, self._layers, high, low, crops, excitation, *self._stems[stage], mask
        )

    def mask(self, embedding: Tensor, high: Tensor, low: Tensor) -> Tensor:
        return self._cascade.mask_of(embedding, self._layers, high, low)  # type: ignore[no-any-return]


class Cuda:
    """If a strip does not fit the GPU's shared memory, the ops run one after the other, as in `ops.cuda`."""

    name = "cuda"

    def __init__(self, weights: Weights, dtype: torch.dtype) -> None:
        from ..ops import cuda
        from ..ops.cuda import strips
        from ..ops.cuda.dual_fusion_conv1x1 import pack_stem

        self._geometry, self._cascade = cuda.geometry_transfer, cuda.cascade_transition
        self._weights = weights
        self._layers = strips.pack(weights.depthwise, weights.transfer, weights.split, dtype)
        self._stems = [pack_stem(weight, bias, dtype) for weight, bias in weights.stems]

    def _given(self) -> tuple[Tensor, Tensor, int, tuple[bool, ...]]:
        return self._weights[:4]

    def statistics(self, embedding: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        found = self._geometry.statistics(embedding, self._layers)
        if found is None:
            mean, covariance, _, _, high, low, *_ = self._geometry.forward(embedding, *self._given())
        else:
            mean, covariance, _, high, low, *_ = found
        return mean, covariance, high, low

    def transition(
        self, embedding: Tensor, high: Tensor, low: Tensor, crops: Tensor, excitation: Tensor, stage: int, mask: bool
    ) -> tuple[Tensor, Tensor | None]:
        (weight, bias), masked = self._weights.stems[stage], self._weights.masked
        done = self._cascade.packed(
            embedding, self._layers, masked, high, low, crops, excitation, self._stems[stage], len(weight)
        )
        if done is None:
            done = self._cascade.forward(embedding, *self._given(), high, low, crops, excitation, weight, bias)
        return done[0], done[1] if mask else None

    def mask(self, embedding: Tensor, high: Tensor, low: Tensor) -> Tensor:
        found = self._geometry.mask(embedding, self._layers, self._weights.masked, high, low)
        return self._geometry.forward(embedding, *self._given())[3] if found is None else found[0]


def choose(kernels: str, device: str, dtype: torch.dtype) -> str:
    """The kind asked for, "triton" or "cuda". "auto": the first that runs on this type of device and dtype.

    Raises `BackendUnavailable` with the reason and the remedy for each that cannot.
    """
    reasons = []
    for name in KERNELS if kernels == "auto" else (kernels,):
        if name not in KERNELS:
            raise BackendUnavailable(f"backend 'gpu' has no kernels {name!r}: choose auto, {', '.join(KERNELS)}")
        module: Any = importlib.import_module(_MODULES[name])
        reason = module.why_not(device, dtype)
        if reason is None:
            return name
        reasons.append(f"kernels {name!r}: {reason}")
    raise BackendUnavailable("backend 'gpu' cannot serve. " + ". ".join(reasons))


def make(name: str, weights: Weights, dtype: torch.dtype) -> GPUKernels:
    """The kernels called ``name``, which comes from `choose`."""
    return Triton(weights, dtype) if name == "triton" else Cuda(weights, dtype)
