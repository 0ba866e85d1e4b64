"""The reference: every op in plain torch, straight from the equations, in any dtype up to float64, with autograd.

All other backends are compared with these functions. They are not tuned.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..types import Moments


def pixel_centres(size: int, like: Tensor) -> Tensor:
    """(size,) crop units: (i + ½) / size."""
    return (torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) / size


def spatial_softmax(logits: Tensor) -> Moments:
    """Eq. 2 and 3: softmax over x and y, then mean, covariance and peak of each map.

    The peak is φ at the logits' first maximum. So in a tie the gradient goes to one pixel, as in every backend.
    """
    b, maps, h, w = logits.shape
    attention = torch.softmax(logits.flatten(2), dim=2).view(b, maps, h, w)
    x, y = pixel_centres(w, attention), pixel_centres(h, attention)
    columns, rows = attention.sum(2), attention.sum(3)  # (B, L, W), (B, L, H)
    mean_x, mean_y = (columns * x).sum(2), (rows * y).sum(2)
    dx, dy = x - mean_x[..., None], y - mean_y[..., None]
    xx, yy = (columns * dx**2).sum(2), (rows * dy**2).sum(2)
    xy = ((attention * dx[:, :, None]).sum(3) * dy).sum(2)
    argmax = logits.flatten(2).max(2, keepdim=True).indices
    peak = attention.flatten(2).gather(2, argmax).squeeze(2)
    return Moments(torch.stack([mean_x, mean_y], dim=2), torch.stack([xx, xy, yy], dim=2), peak)


def attention_mask(logits: Tensor) -> Tensor:
    """Eq. 4, (B, L, H, W) → (B, 1, H, W). The softmax's denominator cancels. A constant map contributes 0."""
    flat = logits.flatten(2)
    high = flat.max(dim=2, keepdim=True).values
    rise = torch.exp(flat - high)
    floor = torch.exp(flat.min(dim=2, keepdim=True).values - high)
    constant = floor >= 1
    level = (rise - floor) / torch.where(constant, torch.ones_like(floor), 1 - floor)
    level = torch.where(constant, torch.zeros_like(level), level)
    return level.max(dim=1, keepdim=True).values.view(logits.shape[0], 1, *logits.shape[2:])


def dual_fusion(image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor) -> Tensor:
    """Eq. 5 and 6: f(Ω) ⊙ [I, I⊙Φ, H, H⊙Φ], (B, 2 + 2C, H, W)."""
    fused = torch.cat([image, image * mask, embedding, embedding * mask], dim=1)
    return fused * excitation[:, :, None, None]


def dual_fusion_conv1x1(
    image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """`dual_fusion` followed by the next U-Net's stem, a 1×1 convolution with weight (O, 2 + 2C) and bias (O,)."""
    return F.conv2d(dual_fusion(image, embedding, mask, excitation), weight[:, :, None, None], bias)


def geometry_logits(embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int) -> Tensor:
    """G of eq. 1 from folded transfer layers. Arguments as in `geometry_transfer`."""
    k = transfer.shape[1]
    streams = [(embedding[:, :k], transfer[:split]), (embedding[:, -k:], transfer[split:])]
    streams = [s for s in streams if len(s[1])]
    maps = [
        F.conv2d(F.conv2d(x, d[:, None], padding=1, groups=k), t[:, :, None, None])
        for d, (x, t) in zip(depthwise, streams, strict=True)
    ]
    return torch.cat(maps, dim=1)


def geometry_transfer(
    embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, masked: Sequence[bool]
) -> tuple[Moments, Tensor]:
    """Embedding (B, C, H, W) → moments of all L maps and mask Φ (B, 1, H, W); see `acdc_fast.ops.geometry_transfer`."""
    logits = geometry_logits(embedding, depthwise, transfer, split)
    entering = logits if all(masked) else logits[:, torch.tensor(list(masked), device=logits.device)]
    return spatial_softmax(logits), attention_mask(entering)


def batch_norm_relu(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch norm by the batch's statistics, then ReLU. The running statistics are updated in place."""
    return F.relu(F.batch_norm(x, running_mean, running_var, weight, bias, True, momentum, eps))
