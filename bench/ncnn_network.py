"""The cascade in operators that ncnn has: softmax over one axis, moments as one product, maximum over one axis."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from acdc_fast import ACDC
from acdc_fast.network import UNet


class ForNcnn(nn.Module):
    """One crop (1, 1, S, S) → E of x, y, xx, xy and yy (1, L, 5), pose (1, 3) and mask (1, 1, S, S) of the last stage.

    The products are the network's. Depthwise and transfer layers are convolutions, and the chain is folded.
    """

    def __init__(self, network: ACDC, side: int = 128) -> None:
        super().__init__()
        config = network.config
        if not (config.has_excitation and config.chain and config.solid and all(config.masked_maps)):
            raise ValueError("only for the full model: both streams, pose, excitation, every map in the mask")
        self.unets, self.excite = network.unets, network.excite
        self.pose = cast(nn.Linear, network.gtn.pose)
        self.side, self.k = side, config.stream_channels
        depthwise, transfer = network.gtn.folded()
        self.flat = sum(config.points[name] for name in config.chain)
        self.maps = len(transfer)
        streams = zip(depthwise, (transfer[: self.flat], transfer[self.flat :]), strict=True)
        self.streams = nn.ModuleList(self._stream(d, t) for d, t in streams)
        centres = (torch.arange(side) + 0.5) / side
        y, x = (c.flatten() for c in torch.meshgrid(centres, centres, indexing="ij"))
        self.moments = nn.Linear(side * side, 5, bias=False)
        with torch.no_grad():
            self.moments.weight.copy_(torch.stack([x, y, x * x, x * y, y * y]))

    def _stream(self, depthwise: Tensor, transfer: Tensor) -> nn.Sequential:
        first = nn.Conv2d(self.k, self.k, 3, padding=1, groups=self.k, bias=False)
        second = nn.Conv2d(self.k, len(transfer), 1, bias=False)
        with torch.no_grad():
            first.weight.copy_(depthwise[:, None])
            second.weight.copy_(transfer[:, :, None, None])
        return nn.Sequential(first, second)

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = crop
        for i, module in enumerate(self.unets):
            h = cast(UNet, module)(x)
            width = h.shape[1]
            flat = self.streams[0](h[:, : self.k]).reshape(1, self.flat, self.side * self.side)
            solid = self.streams[1](h[:, width - self.k :]).reshape(1, self.maps - self.flat, self.side * self.side)
            logits = torch.cat([flat, solid], dim=1)
            moments = self.moments(torch.softmax(logits, dim=2))  # (1, L, 5): E of x, y, xx, xy, yy
            high = torch.amax(logits, dim=2, keepdim=True)
            floor = torch.exp(torch.amin(logits, dim=2, keepdim=True) - high)
            level = (torch.exp(logits - high) - floor) / (1 - floor)
            mask = torch.amax(level, dim=1, keepdim=True).reshape(1, 1, self.side, self.side)
            pose = self.pose(moments[:, self.flat :, :2].reshape(1, 2 * (self.maps - self.flat)))
            if i + 1 < len(self.unets):
                excitation = torch.sigmoid(self.excite[i](pose)).reshape(1, 2 + 2 * width, 1, 1)
                x = torch.cat([crop, crop * mask, h, h * mask], dim=1) * excitation
        return moments, pose, mask
