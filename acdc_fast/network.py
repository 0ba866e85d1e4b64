"""AC-DC in plain PyTorch: the truth that every fast path is compared with.

Symbols are the paper's: I image, H embedding, φ attention maps, Ω pose, Φ mask, F fused features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import ops
from .checks import check_crops
from .config import ACDCConfig
from .network_arrays import state_shapes
from .types import Moments, Prediction

#: Pose in the network and its loss is degrees / 90 (ours): yaw then spans [-1, 1] on 300W-LP.
POSE_SCALE = 90.0


class ConvBlock(nn.Sequential):
    """3×3 convolution, batch norm, ReLU (paper §III-D)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        norm = self[1]
        if not norm.training or type(norm) is not nn.BatchNorm2d or norm.momentum is None:  # SyncBatchNorm, say
            return cast(Tensor, super().forward(x))  # type: ignore[no-untyped-call]
        mean, variance, batches = norm.running_mean, norm.running_var, norm.num_batches_tracked
        assert mean is not None and variance is not None and batches is not None  # `__init__` asked for them
        batches.add_(1)
        return ops.batch_norm_relu(self[0](x), mean, variance, norm.weight, norm.bias, norm.momentum, norm.eps)


class UNet(nn.Module):
    """Thirteen convolutions: (B, inputs, pS, pS) → embedding (B, w, S, S). S must be a multiple of 8. The stem takes
    patches of p × p pixels."""

    def __init__(self, inputs: int, width: int, patch: int = 1) -> None:
        super().__init__()
        w = width
        self.stem = nn.Conv2d(inputs, w, patch, patch)
        self.encode1, self.down1 = ConvBlock(w, w), ConvBlock(w, w, stride=2)
        self.encode2, self.down2 = ConvBlock(w, 2 * w), ConvBlock(2 * w, 2 * w, stride=2)
        self.encode3, self.down3 = ConvBlock(2 * w, 4 * w), ConvBlock(4 * w, 4 * w, stride=2)
        self.up3, self.decode3 = ConvBlock(4 * w, 4 * w), ConvBlock(4 * w, 2 * w)
        self.up2, self.decode2 = ConvBlock(2 * w, 2 * w), ConvBlock(2 * w, w)
        self.up1, self.decode1 = ConvBlock(w, w), ConvBlock(w, w)

    def after_stem(self, x: Tensor) -> Tensor:
        skip1 = self.encode1(x)
        skip2 = self.encode2(self.down1(skip1))
        skip3 = self.encode3(self.down2(skip2))
        x = self.decode3(self.up3(_double(self.down3(skip3))) + skip3)
        x = self.decode2(self.up2(_double(x)) + skip2)
        return cast(Tensor, self.decode1(self.up1(_double(x)) + skip1))

    def forward(self, x: Tensor) -> Tensor:
        return self.after_stem(self.stem(x))


def averaged(crops: Tensor, patch: int) -> Tensor:
    """(B, 1, S, S) → (B, 1, S / patch, S / patch): what later stages see of the crop."""
    return F.avg_pool2d(crops, patch) if patch > 1 else crops


def _double(x: Tensor) -> Tensor:
    """Bilinear ×2 with half-pixel centres."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class GeometryTransfer(nn.Module):
    """Geometry transfer network with its pose layer, shared by all stages (§III-B, eq. 1 and 8)."""

    def __init__(self, config: ACDCConfig) -> None:
        super().__init__()
        self.config = config
        k = config.stream_channels
        self.depthwise = nn.ParameterDict()
        self.transfer = nn.ParameterDict()
        for stream, markups in (("2d", config.chain), ("3d", config.solid)):
            if not markups:
                continue
            self.depthwise[stream] = nn.Parameter(torch.empty(k, 3, 3).uniform_(-1 / 3, 1 / 3))
            inputs = k
            for name in markups:
                outputs = config.points[name]
                bound = inputs**-0.5
                self.transfer[name] = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
                inputs = outputs
        self.pose = nn.Linear(2 * config.points[config.solid[0]], 3) if config.has_pose else None

    def folded(self) -> tuple[Tensor, Tensor]:
        """The chained 1×1 layers as one product: depthwise (S, K, 3, 3) and transfer (L, K), maps in config order."""
        products: list[Tensor] = []
        for i, name in enumerate(self.config.chain):
            products.append(self.transfer[name] @ products[-1] if i else self.transfer[name])
        products += [self.transfer[name] for name in self.config.solid]
        return torch.stack([self.depthwise[s] for s in self.depthwise]), torch.cat(products)

    def logits(self, embedding: Tensor) -> Tensor:
        """G: (B, w, H, W) → (B, L, H, W), layer by layer as eq. 1 writes it. Tests compare the ops with it."""
        k, maps = self.config.stream_channels, []
        for stream, markups in (("2d", self.config.chain), ("3d", self.config.solid)):
            if not markups:
                continue
            x = embedding[:, :k] if stream == "2d" else embedding[:, -k:]
            x = F.conv2d(x, self.depthwise[stream][:, None], padding=1, groups=k)
            for name in markups:
                x = F.conv2d(x, self.transfer[name][:, :, None, None])
                maps.append(x)
        return torch.cat(maps, dim=1)

    def forward(self, embedding: Tensor) -> tuple[Moments, Tensor, Tensor | None]:
        """Moments of all L maps, mask Φ (B, 1, H, W) and pose Ω (B, 3) in degrees / 90."""
        depthwise, transfer = self.folded()
        split = sum(self.config.points[m] for m in self.config.chain)
        moments, mask = ops.geometry_transfer(embedding, depthwise, transfer, split, self.config.masked_maps)
        return moments, mask, self.head_pose(moments.mean)

    def head_pose(self, mean: Tensor) -> Tensor | None:
        """Ω from the 3D stream's landmarks (B, L, 2) of all markups; None where the variant has no pose."""
        if self.pose is None:
            return None
        points = mean[:, self.config.slices[self.config.solid[0]]]
        return cast(Tensor, self.pose(points.flatten(1).to(self.pose.weight.dtype)))


class ACDC(nn.Module):
    """The cascade (§III-A): crops (B, 1, S, S), float in [0, 1] → Prediction. S is a multiple of 8 from 32, times the
    config's ``patch``; the maps have S / patch places along a side."""

    def __init__(self, config: ACDCConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ACDCConfig()
        inputs = [(1, config.patch)] + [(config.fusion_channels, 1)] * (config.stages - 1)
        self.unets = nn.ModuleList(UNet(channels, config.width, patch) for channels, patch in inputs)
        self.gtn = GeometryTransfer(config)
        self.excite = nn.ModuleList(
            nn.Linear(3, config.fusion_channels) for _ in range(config.stages - 1) if config.has_excitation
        )

    @classmethod
    def holding(cls, config: ACDCConfig, arrays: Mapping[str, np.ndarray]) -> ACDC:
        """The network with a copy of these arrays (`network_arrays.check_arrays` has compared them), in eval mode. Of
        stages beyond the config's nothing is taken."""
        network = cls(config)
        state = {name: torch.from_numpy(arrays[name].copy()) for name in state_shapes(config)}
        network.load_state_dict(state, strict=False)  # batch norm's counters alone are not in the arrays
        return network.eval()

    def excitation(self, stage: int, pose: Tensor | None, like: Tensor) -> Tensor:
        """f_i(Ω_i), eq. 6, (B, 2 + 2C); ones where the variant has no excitation."""
        if not self.config.has_excitation:
            return like.new_ones(like.shape[0], self.config.fusion_channels)
        return torch.sigmoid(self.excite[stage](pose))

    def forward(self, crops: Tensor, all_stages: bool = False) -> Prediction:
        """Raises ``ValueError`` for crops of another shape, size or type."""
        check_crops(crops.shape, crops.is_floating_point(), self.config.crop_unit)
        stages: list[Prediction] = []
        unets = [cast(UNet, unet) for unet in self.unets]
        x = unets[0].stem(crops)
        image = averaged(crops, self.config.patch)
        for i, unet in enumerate(unets):
            embedding = unet.after_stem(x)
            moments, mask, pose = self.gtn(embedding)
            stages.append(self._prediction(moments, mask, pose))
            if i + 1 < len(unets):
                stem, excitation = unets[i + 1].stem, self.excitation(i, pose, embedding)
                assert stem.bias is not None
                x = ops.dual_fusion_conv1x1(image, embedding, mask, excitation, stem.weight.flatten(1), stem.bias)
        last = stages[-1]
        kept = tuple(stages) if all_stages else None
        return Prediction(last.landmarks, last.covariance, last.pose, last.mask, kept)

    def _prediction(self, moments: Moments, mask: Tensor, pose: Tensor | None) -> Prediction:
        slices = self.config.slices
        return Prediction(
            {name: moments.mean[:, part] for name, part in slices.items()},
            {name: moments.covariance[:, part] for name, part in slices.items()},
            None if pose is None else pose * POSE_SCALE,
            mask,
        )
