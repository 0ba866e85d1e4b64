"""The operations between the convolutions, on torch tensors, differentiable, each with a choice of backend.

``backend="auto"`` takes the fastest that supports the arguments. A backend that is named but cannot run raises
`acdc_fast.BackendUnavailable` with the reason and the remedy. ``ACDC_BACKEND`` sets the default.

Importing this package imports torch, but no backend. A backend is imported at its first use.
"""

from __future__ import annotations

from .attention_mask import attention_mask as attention_mask
from .backends import BACKENDS as BACKENDS
from .backends import report as report
from .batch_norm_relu import batch_norm_relu as batch_norm_relu
from .dual_fusion import dual_fusion as dual_fusion
from .dual_fusion_conv1x1 import dual_fusion_conv1x1 as dual_fusion_conv1x1
from .geometry_transfer import geometry_transfer as geometry_transfer
from .spatial_softmax import spatial_softmax as spatial_softmax

__all__ = [
    "BACKENDS",
    "attention_mask",
    "batch_norm_relu",
    "dual_fusion",
    "dual_fusion_conv1x1",
    "geometry_transfer",
    "report",
    "spatial_softmax",
]
