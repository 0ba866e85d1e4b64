"""The loss that training minimises: landmark loss (eq. 7) and pose loss (eq. 8) of every stage.

Every mean is over all faces of a batch; an unknown point or pose counts as zero. The loss of a batch is therefore the
mean of the losses of its equal parts, which distributed training relies on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from acdc_fast.markups import MARKUPS
from acdc_fast.network import POSE_SCALE
from acdc_fast.types import Prediction

from ..sampling.targets import Targets

#: Least variance of a map, crop units²: below it the slope of the root grows without bound (1/100 pixel of 128²).
LEAST_VARIANCE = 1e-8
#: A map is to be this many times as wide as usual where there is no upright face. `acdc_fast.readout.orientation` looks
#: at a face again from 1.5 times; the rest is room for faces whose maps are narrower than those of most.
WIDER = 2.5


def stage_weights(stages: int) -> tuple[float, ...]:
    """λ of each stage (§III-C): ⅛, ¼, ½, 1. For other numbers of stages each λ is twice the one before (ours)."""
    return tuple(0.5 ** (stages - 1 - i) for i in range(stages))


def landmark_loss(predicted: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Eq. 7 for one markup: mean over faces and points of |Δx| + |Δy|. (B, L, 2), (B, L, 2), (B, L) → scalar.

    Points of weight 0 may be NaN.
    """
    if weights is None:
        return (predicted - target).abs().sum(2).mean()
    known = weights > 0
    target = torch.where(known[..., None], target, predicted.detach())
    return ((predicted - target).abs().sum(2) * weights).mean()


def points_for(markup: str, landmarks: Mapping[str, Tensor]) -> Tensor | None:
    """(B, L, 2) points of a stage to compare labels of ``markup`` with: of its own maps, or means of another markup's.

    None if the stage has neither. A point that is no mean of others (`Markup.means`) is 0; its label has weight 0.
    """
    if markup in landmarks:
        return landmarks[markup].float()
    of, groups = MARKUPS[markup].means or ("", ())
    if of not in landmarks:
        return None
    points = landmarks[of].float()
    table = points.new_zeros(len(groups), points.shape[1])
    for row, group in enumerate(groups):
        table[row, list(group)] = 1 / max(len(group), 1)
    return table @ points


def spread_loss(predicted: Tensor, covariance: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over faces and points of |spread − error| (ours): (B, L, 2), (B, L, 3), (B, L, 2), (B, L) → scalar.

    The spread is the root of the covariance's trace. The error is the distance of point and label, without gradient.
    The loss is least if each map is as wide as its point's usual error. So the spread measures doubt.
    """
    known = torch.ones_like(target[..., 0]) if weights is None else weights
    target = torch.where(known[..., None] > 0, target, predicted.detach())
    error = (predicted.detach() - target).norm(dim=2)
    spread = (covariance[..., 0] + covariance[..., 2]).clamp_min(LEAST_VARIANCE).sqrt()
    loss: Tensor = ((spread - error).abs() * known).mean()
    return loss


def wide_loss(covariance: Tensor, wide: Tensor) -> Tensor:
    """Hinge that makes maps wide where no upright face is (ours): (B, L, 3), (B,) 1 or 0 → scalar.

    Mean over faces and points of max(0, log(`WIDER` · usual) − log(spread)) of the crops marked in ``wide``; 0 for the
    others. A point's usual spread is the mean of the other crops', without gradient. If there are none, the loss is 0.
    """
    spread = (covariance[..., 0] + covariance[..., 2]).clamp_min(LEAST_VARIANCE).sqrt()
    others = 1 - wide
    usual = (spread.detach() * others[:, None]).sum(0) / others.sum().clamp_min(1)
    missing = (WIDER * usual).clamp_min(LEAST_VARIANCE**0.5).log() - spread.log()
    loss: Tensor = (missing.clamp_min(0) * wide[:, None]).mean() * (others.sum() > 0)
    return loss


def pose_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Eq. 8: mean over faces of |Δyaw| + |Δpitch| + |Δroll| in degrees / 90. (B, 3) degrees twice → scalar."""
    known = torch.isfinite(target).all(1)
    target = torch.where(known[:, None], target, predicted.detach())
    return (predicted - target).abs().sum(1).mean() / POSE_SCALE


def cascade_loss(
    prediction: Prediction,
    targets: Targets,
    pose_weight: float = 1.0,
    markup_weights: Mapping[str, float] | None = None,
    scales: Sequence[float] | None = None,
    spread_weight: float = 0.0,
    wide_weight: float = 0.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum over stages of λ·(eq. 7 for each markup of the batch + pose_weight · eq. 8), and its parts.

    ``prediction`` must have its stages (``all_stages=True``). The parts are named ``stage1/2d68``, ``stage1/pose``, …,
    unweighted and detached. Ours: ``spread_weight`` adds `spread_loss` of each markup to eq. 7; ``markup_weights``
    weigh the markups (1 if absent); ``scales`` replace the paper's λ; ``wide_weight`` adds the mean over markups of
    `wide_loss`. Raises `ValueError` if no label can be used.
    """
    if prediction.stages is None:
        raise ValueError("the loss needs every stage: call the network with all_stages=True")
    markup_weights, scales = markup_weights or {}, scales or stage_weights(len(prediction.stages))
    parts: dict[str, Tensor] = {}
    total = torch.zeros((), device=next(iter(prediction.landmarks.values())).device)
    for i, (stage, scale) in enumerate(zip(prediction.stages, scales, strict=True)):
        for markup, target in targets.landmarks.items():
            weights = targets.weights.get(markup)
            predicted = points_for(markup, stage.landmarks)
            if predicted is None:
                continue
            loss = landmark_loss(predicted, target, weights)
            parts[f"stage{i + 1}/{markup}"] = loss.detach()
            total = total + scale * markup_weights.get(markup, 1.0) * loss
            if spread_weight and markup in stage.landmarks:
                moments = stage.landmarks[markup].float(), stage.covariance[markup].float()
                loss = spread_loss(*moments, target, weights)
                parts[f"stage{i + 1}/{markup}/spread"] = loss.detach()
                total = total + scale * markup_weights.get(markup, 1.0) * spread_weight * loss
        if wide_weight:  # with no such crop too: every process reports the same parts
            moments_of = [covariance.float() for covariance in stage.covariance.values()]
            wide = moments_of[0].new_zeros(len(moments_of[0])) if targets.wide is None else targets.wide
            hinges = [wide_loss(covariance, wide) for covariance in moments_of]
            loss = torch.stack(hinges).mean()
            parts[f"stage{i + 1}/wide"] = loss.detach()
            total = total + scale * wide_weight * loss
        if targets.pose is not None and stage.pose is not None:
            loss = pose_loss(stage.pose.float(), targets.pose)
            parts[f"stage{i + 1}/pose"] = loss.detach()
            total = total + scale * pose_weight * loss
    if not parts:
        raise ValueError(f"the batch has labels of {', '.join(targets.landmarks)}; the network gives none of these")
    return total, parts
