"""The operations between the convolutions, on torch tensors, differentiable, each with a choice of backend.

``backend="auto"`` takes the fastest that supports the arguments; one asked for by name that cannot serve raises
`acdc_fast.BackendUnavailable` with the reason and the remedy. ``ACDC_BACKEND`` sets the default.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..types import Moments
from . import reference


def spatial_softmax(logits: Tensor, backend: str | None = None) -> Moments:
    return reference.spatial_softmax(logits)


def attention_mask(logits: Tensor, backend: str | None = None) -> Tensor:
    return reference.attention_mask(logits)


def dual_fusion(
    image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, backend: str | None = None
) -> Tensor:
    return reference.dual_fusion(image, embedding, mask, excitation)


def dual_fusion_conv1x1(
    image: Tensor,
    embedding: Tensor,
    mask: Tensor,
    excitation: Tensor,
    weight: Tensor,
    bias: Tensor,
    backend: str | None = None,
) -> Tensor:
    return reference.dual_fusion_conv1x1(image, embedding, mask, excitation, weight, bias)


def geometry_transfer(
    embedding: Tensor,
    depthwise: Tensor,
    transfer: Tensor,
    split: int,
    masked: Sequence[bool],
    backend: str | None = None,
) -> tuple[Moments, Tensor]:
    """The geometry transfer network in one op (eq. 1 to 4): neither logits nor attention maps need be stored.

    embedding (B, C, H, W); depthwise (S, K, 3, 3), one for each stream that has maps; transfer (L, K), the chained
    1×1 layers folded, the first ``split`` maps read the first K channels, the others the last K; masked: L flags, the
    maps that enter the mask. Gives moments of all L maps and the mask Φ (B, 1, H, W).
    """
    return reference.geometry_transfer(embedding, depthwise, transfer, split, masked)
