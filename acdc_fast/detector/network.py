"""The detector in plain torch. It is what is trained, and the truth that the C++ engine is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from .plan import BACKBONE, LEVELS, OUTPUTS, STEM


class Block(nn.Module):
    """(B, in, H, W) → (B, out, ⌈H/stride⌉, ⌈W/stride⌉): 3×3 depthwise, then 1×1, each normalised, with ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.depthwise_norm(self.depthwise(x)))
        return F.relu(self.pointwise_norm(self.pointwise(x)))


class Detector(nn.Module):
    """Grey pictures (B, 1, H, W), (value − 128) / 128 → for strides 8, 16, 32 a tensor (B, 5, ⌈H/s⌉, ⌈W/s⌉)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, STEM, 3, 2, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(STEM)
        self.backbone = nn.ModuleList(Block(*block) for block in BACKBONE)
        channels = [BACKBONE[block][1] for block, _ in LEVELS]
        pairs = list(zip(channels[1:], channels[:-1], strict=True))
        self.down = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for coarse, fine in pairs)
        self.neck = nn.ModuleList(Block(fine, fine) for _, fine in pairs)
        self.heads = nn.ModuleList(nn.Conv2d(count, OUTPUTS, 1) for count in channels)
        for head in self.heads:  # nearly all cells lie on no face, so scores start low
            assert isinstance(head, nn.Conv2d) and head.bias is not None
            nn.init.constant_(head.bias[:1], -4.0)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = F.relu(self.stem_norm(self.stem(x)))
        levels = []
        for number, block in enumerate(self.backbone):
            x = block(x)
            if number in (last for last, _ in LEVELS):
                levels.append(x)
        for fine in reversed(range(len(levels) - 1)):
            wider = F.interpolate(self.down[fine](levels[fine + 1]), scale_factor=2.0, mode="nearest")
            height, width = levels[fine].shape[2:]
            levels[fine] = self.neck[fine](levels[fine] + wider[:, :, :height, :width])
        return [head(level) for head, level in zip(self.heads, levels, strict=True)]


def decoded(outputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of `Detector` → score logits (B, N), boxes (B, N, 4) x0, y0, x1, y1 in pixels, the finest level first."""
    logits, boxes = [], []
    for (_, stride), out in zip(LEVELS, outputs, strict=True):
        y, x = torch.meshgrid(*(torch.arange(n, dtype=out.dtype) for n in out.shape[2:]), indexing="ij")
        centre = torch.stack([x + out[:, 1], y + out[:, 2]], -1) * stride
        half = out[:, 3:5].clamp(max=5.0).exp().movedim(1, -1) * (0.5 * stride)
        boxes.append(torch.cat([centre - half, centre + half], -1).flatten(1, 2))
        logits.append(out[:, 0].flatten(1))
    return torch.cat(logits, 1), torch.cat(boxes, 1)
