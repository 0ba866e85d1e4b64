"""Backend `cuda`, for inference: from one stage to the next in one pass over the embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..allocate import empty, empty_image
from .dual_fusion_conv1x1 import StemShape, dual_fusion_conv1x1, pack_stem
from .geometry_transfer import geometry_transfer
from .launch import launch
from .plan import dense_image, flat
from .strips import Layers, entering, pack, place, plan


class cascade_transition:
    """csrc/cuda/cascade_transition.cuh. If no strip fits, the ops run one after the other."""

    @staticmethod
    def forward(
        embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, masked: Sequence[bool], high: Tensor,
        low: Tensor, image: Tensor, excitation: Tensor, weight: Tensor, bias: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The next stem's output (B, O, H, W) and the mask (B, 1, H, W), from the maps' extremes."""
        layers, stem = pack(depthwise, transfer, split, embedding.dtype), pack_stem(weight, bias, embedding.dtype)
        done = cascade_transition.packed(embedding, layers, masked, high, low, image, excitation, stem, len(weight))
        if done is not None:
            return done
        mask = geometry_transfer.forward(embedding, depthwise, transfer, split, masked)[3]
        return dual_fusion_conv1x1.forward(image, embedding, mask, excitation, weight, bias), mask

    @staticmethod
    def packed(
        embedding: Tensor, layers: Layers, masked: Sequence[bool], high: Tensor, low: Tensor, image: Tensor,
        excitation: Tensor, stem: tuple[Tensor, Tensor], outputs: int,
    ) -> tuple[Tensor, Tensor] | None:  # fmt: skip
        """The same, from layers that were packed before. None if no strip fits."""
        embedding = dense_image(embedding)
        b, c, h, w = embedding.shape
        p = plan(embedding, layers, "stem", outputs)
        if p is None:
            return None
        mask, out = empty((b, 1, h, w), embedding, torch.float32), empty_image(embedding, outputs)
        launch(
            "geometry_transfer_stem", embedding.dtype, [p.strips, 1, b], p.shared, flat(image), embedding,
            layers.depthwise, layers.fragments, high, low, entering(masked, embedding.device), flat(excitation), *stem,
            mask, out, p.s, StemShape(outputs, c, p.s.tile), place(embedding), place(out),
        )  # fmt: skip
        return out, mask
