"""Backend `native`: passes the tensors' memory to the C++ kernels of acdc_fast._native."""

from __future__ import annotations

import torch

from ... import _native
from ...native_library import why_older
from .attention_mask import attention_mask as attention_mask
from .batch_norm_relu import batch_norm_relu as batch_norm_relu
from .dual_fusion import dual_fusion as dual_fusion
from .dual_fusion_conv1x1 import dual_fusion_conv1x1 as dual_fusion_conv1x1
from .geometry_transfer import geometry_transfer as geometry_transfer
from .spatial_softmax import spatial_softmax as spatial_softmax


def why_not(device: str, dtype: torch.dtype) -> str | None:
    if older := why_older(_native):
        return older
    if device != "cpu":
        return f"its kernels read the CPU's memory, not {device}; use backend='auto'"
    if dtype == torch.float64:
        return "its kernels compute in float32; use backend='reference' for float64"
    return None
