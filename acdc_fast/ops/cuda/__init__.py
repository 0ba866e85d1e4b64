"""Backend `cuda`: plans and launches the kernels of csrc/cuda; see docs/adding-a-kernel.md for what each gives."""

from __future__ import annotations

import torch
from torch import Tensor

from . import launch as cuda_launch
from ..allocate import empty
from .dual_fusion_conv1x1 import dual_fusion as dual_fusion
from .dual_fusion_conv1x1 import dual_fusion_conv1x1 as dual_fusion_conv1x1
from .geometry_transfer import geometry_transfer as geometry_transfer
from .launch import launch
from .plan import cdiv, restored, vector, wide
from .cascade_transition import cascade_transition as cascade_transition


def why_not(device: str, dtype: torch.dtype) -> str | None:
    if dtype not in cuda_launch.TYPES:
        return f"the CUDA kernels serve float32, float16 and bfloat16, not {dtype}: use backend='reference'"
    launcher = cuda_launch.current()
    if isinstance(launcher, str):
        return f"no CUDA kernels here: {launcher}"
    if device != launcher.device:
        return f"the CUDA kernels read {launcher.device} tensors, not {device}: use backend='native'"
    if device == "cuda":
        if not torch.cuda.is_available():
            return "torch sees no GPU: install the NVIDIA driver and a CUDA build of torch, or use backend='native'"
        if torch.cuda.get_device_capability() < (7, 5):
            return "the GPU is older than compute capability 7.5: use backend='reference'"
    return None


class spatial_softmax:
    """Eq. 2 and 3, csrc/cuda/spatial_softmax.cuh."""

    @staticmethod
    def _extremes(logits: Tensor) -> tuple[Tensor, ...]:
        """mean, covariance, peak, high, low, argmax, argmin of contiguous logits."""
        b, maps, h, w = logits.shape
        shapes = ((b, maps, 2), (b, maps, 3), *3 * ((b, maps),))
        out = [empty(s, logits, torch.float32) for s in shapes]
        out += [empty((b, maps), logits, torch.int32) for _ in range(2)]
        shared = 32 * 48  # the warps' partial results
        launch("spatial_softmax_forward", logits.dtype, [b * maps], shared, logits, out, h, w, wide(logits, h * w))
        return tuple(out)

    @staticmethod
    def forward(logits: Tensor) -> tuple[Tensor, ...]:
        mean, covariance, peak, high, _, argmax, _ = spatial_softmax._extremes(logits.contiguous())
        return mean, covariance, peak, high, argmax

    @staticmethod
    def backward(
        grad_mean: Tensor, grad_covariance: Tensor, grad_peak: Tensor, logits: Tensor,
        mean: Tensor, covariance: Tensor, peak: Tensor, high: Tensor, argmax: Tensor,
    ) -> Tensor:  # fmt: skip
        (b, maps, h, w), dense = logits.shape, logits.contiguous()
        grad = empty(logits.shape, logits, logits.dtype)
        small = [t.contiguous() for t in (grad_mean, grad_covariance, grad_peak)]
        saved = [t.contiguous() for t in (mean, covariance, peak, high, argmax)]
        aligned = wide(dense, h * w) and wide(grad, h * w)
        launch("spatial_softmax_backward", logits.dtype, [b * maps], 0, *small, dense, *saved, grad, h, w, int(aligned))
        return restored(grad, logits)


class attention_mask:
    """Eq. 4, csrc/cuda/attention_mask.cuh."""

    @staticmethod
    def forward(logits: Tensor) -> tuple[Tensor, ...]:
        logits = logits.contiguous()
        *_, high, low, argmax, argmin = spatial_softmax._extremes(logits)
        mask, winner = attention_mask.levels(logits, high, low)
        return mask, high, low, argmax, argmin, winner

    @staticmethod
    def levels(logits: Tensor, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """Mask and winners of contiguous logits with known extremes; a map with low = high stays out."""
        b, maps, h, w = logits.shape
        mask, winner = empty((b, 1, h, w), logits, torch.float32), empty((b, h, w), logits, torch.int32)
        v = vector(logits)
        grid, shared = [cdiv(h * w, 32 * v), b], 8 * 32 * v * 8  # (level, map) of every warp, lane and pixel
        launch(
            "attention_mask_forward", logits.dtype, grid, shared, logits, high, low, mask, winner, maps, h * w,
            wide(logits, h * w),
        )  # fmt: skip
        return mask, winner

    @staticmethod
    def backward(
        grad_mask: Tensor, logits: Tensor, mask: Tensor, high: Tensor, low: Tensor,
        argmax: Tensor, argmin: Tensor, winner: Tensor,
    ) -> Tensor:  # fmt: skip
        b, maps, h, w = logits.shape
        grad = empty(logits.shape, logits, logits.dtype)
        saved = [t.contiguous() for t in (grad_mask, mask, high, low, argmax, argmin, winner)]
        launch("attention_mask_backward", logits.dtype, [maps, b], 32 * 4, *saved, grad, h * w)
        return restored(grad, logits)
