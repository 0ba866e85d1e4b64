"""Backend `cuda`: plans and launches the kernels of csrc/cuda. Their results: docs/reference/op-contract.md."""

from __future__ import annotations

import torch

from . import launch as launching
from .attention_mask import attention_mask as attention_mask
from .cascade_transition import cascade_transition as cascade_transition
from .dual_fusion import dual_fusion as dual_fusion
from .dual_fusion_conv1x1 import dual_fusion_conv1x1 as dual_fusion_conv1x1
from .geometry_transfer import geometry_transfer as geometry_transfer
from .spatial_softmax import spatial_softmax as spatial_softmax


def why_not(device: str, dtype: torch.dtype) -> str | None:
    if dtype not in launching.TYPES:
        return f"the CUDA kernels serve float32, float16 and bfloat16, not {dtype}: use backend='reference'"
    launcher = launching.current()
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
