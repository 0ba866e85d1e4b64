"""Loss of the detector: scores learn the overlap of their box; boxes learn overlap, centre and size."""

from __future__ import annotations

import torch
from torch.nn import functional as F

#: From an overlap of 1 / 1.4 = 0.71 on a box counts as right.
SCORED = 1.4


def detection_loss(
    logits: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor, wanted: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, N), boxes (B, N, 4), labels (B, N) 1 / 0 / −1, wanted boxes (B, N, 4) → loss of scores, of boxes.

    Scores: after the varifocal loss (Zhang et al., CVPR 2021). A face's cell learns to score `SCORED` times the overlap
    of its box with the wanted box, at most 1: a face with a good box must not score as half a face does. Boxes:
    complete IoU (Zheng et al., AAAI 2020), plus distances of centre (in face sizes) and log size.
    """
    face = labels == 1
    count = face.sum().clamp(min=1)
    given, aim = boxes[face], wanted[face]
    overlap, complete = _complete_iou(given, aim)
    goal = torch.zeros_like(logits)
    goal[face] = (SCORED * overlap.detach()).clamp(0.3, 1)
    weight = torch.where(face, goal, torch.sigmoid(logits.detach()).square()) * (labels >= 0)
    scores = (F.binary_cross_entropy_with_logits(logits, goal, reduction="none") * weight).sum() / count
    size = (aim[:, 2:] - aim[:, :2]).clamp(min=1)
    shift = (given[:, :2] + given[:, 2:] - aim[:, :2] - aim[:, 2:]) / (2 * size)
    growth = torch.log((given[:, 2:] - given[:, :2]).clamp(min=0.1) / size)
    distance = F.smooth_l1_loss(torch.cat([shift, growth], 1), torch.zeros_like(given), beta=0.1, reduction="none")
    return scores, ((1 - complete) + 2 * distance.sum(1)).sum() / count


def _complete_iou(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N,) intersection over union, and the same minus penalties for the distance of centres and of aspect ratios."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    sides, others = (a[:, 2:] - a[:, :2]).clamp(min=0.1), (b[:, 2:] - b[:, :2]).clamp(min=0.1)
    overlap = shared / (sides.prod(1) + others.prod(1) - shared)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).square().sum(1).clamp(min=1e-6)
    apart = ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2).square().sum(1) / hull
    aspect = 0.4053 * (torch.atan(others[:, 0] / others[:, 1]) - torch.atan(sides[:, 0] / sides[:, 1])).square()
    with torch.no_grad():
        trade = aspect / (1 - overlap + aspect + 1e-6)
    return overlap, overlap - apart - trade * aspect
