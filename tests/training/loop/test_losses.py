"""Losses of eq. 7 and 8 on cases computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from acdc_fast.training.loop.losses import (
    WIDER,
    cascade_loss,
    landmark_loss,
    pose_loss,
    spread_loss,
    stage_weights,
    wide_loss,
)
from acdc_fast.training.sampling.targets import Targets
from acdc_fast.types import Prediction


def prediction(points: torch.Tensor, pose: torch.Tensor | None, stages: tuple[Prediction, ...] | None) -> Prediction:
    return Prediction({"2d5": points}, {"2d5": torch.zeros(len(points), 5, 3)}, pose, None, stages)


def test_stage_weights_are_the_papers() -> None:
    assert stage_weights(4) == (0.125, 0.25, 0.5, 1.0)
    assert stage_weights(1) == (1.0,)


def test_landmark_loss_by_hand() -> None:
    target = torch.zeros(2, 2, 2)
    predicted = torch.tensor([[[0.1, -0.2], [0.0, 0.0]], [[0.0, 0.4], [-0.1, 0.0]]])
    # per point |dx| + |dy|: 0.3, 0; 0.4, 0.1 → mean 0.2
    assert landmark_loss(predicted, target).item() == pytest.approx(0.2)
    # weights 1, 0; 2, 0.5 → (0.3 + 0 + 0.8 + 0.05) / 4
    weights = torch.tensor([[1.0, 0.0], [2.0, 0.5]])
    assert landmark_loss(predicted, target, weights).item() == pytest.approx(1.15 / 4)


def test_unknown_points_have_neither_value_nor_gradient() -> None:
    target = torch.tensor([[[0.5, 0.5], [float("nan"), float("nan")]]])
    predicted = torch.tensor([[[0.25, 0.5], [0.9, 0.9]]], requires_grad=True)
    loss = landmark_loss(predicted, target, torch.tensor([[1.0, 0.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(0.125)
    assert predicted.grad is not None
    assert predicted.grad.tolist() == [[[-0.5, 0.0], [0.0, 0.0]]]


def test_spread_loss_by_hand() -> None:
    """Errors 0.5 and 0 (a 3-4-5 triangle), spreads 0.3 and 0.1; the third point is not known."""
    predicted = torch.tensor([[[0.3, 0.4], [0.2, 0.2], [0.7, 0.7]]], requires_grad=True)
    target = torch.tensor([[[0.0, 0.0], [0.2, 0.2], [float("nan"), 0.0]]])
    covariance = torch.tensor([[[0.05, 0.9, 0.04], [0.01, 0.0, 0.0], [0.0, 0.0, 0.0]]], requires_grad=True)
    weights = torch.tensor([[1.0, 2.0, 0.0]])
    loss = spread_loss(predicted, covariance, target, weights)
    loss.backward()
    assert loss.item() == pytest.approx((0.2 + 2 * 0.1) / 3)
    assert predicted.grad is None  # the error is taken as given
    assert covariance.grad is not None
    # d√(a + c) = ½/√(a + c): the first point asks for a wider spread, the second for a narrower one, the third for none
    wanted = torch.tensor([-0.5 / 0.3 / 3, 2 * 0.5 / 0.1 / 3, 0])[:, None] * torch.tensor([1, 0, 1])
    assert torch.allclose(covariance.grad[0], wanted, rtol=1e-5, atol=0)


def test_spread_enters_the_cascades_loss_by_its_weight() -> None:
    points = torch.full((1, 5, 2), 0.3)
    stage = prediction(points, None, None)
    whole = prediction(points, None, (stage, stage))
    targets = Targets({"2d5": points + torch.tensor([0.03, 0.04])}, {})
    without, _ = cascade_loss(whole, targets, scales=(1.0, 2.0), markup_weights={"2d5": 3.0})
    total, parts = cascade_loss(whole, targets, scales=(1.0, 2.0), markup_weights={"2d5": 3.0}, spread_weight=0.5)
    assert parts["stage2/2d5/spread"].item() == pytest.approx(0.05 - 1e-4, rel=1e-4)  # a point map: spread 10⁻⁴
    assert (total - without).item() == pytest.approx(3 * 3.0 * 0.5 * (0.05 - 1e-4), rel=1e-4)


def spreads(values: list[list[float]]) -> torch.Tensor:
    """(B, L) spreads → (B, L, 3) covariances, all of it along y, and a correlation that must not count."""
    rows = torch.tensor(values)
    return torch.stack([torch.zeros_like(rows), rows, rows**2], 2).requires_grad_()


def test_wide_loss_by_hand() -> None:
    """Usual spreads 0.1 and 0.2 by the first two faces. The third is to be wider; of the fourth only one map is."""
    covariance = spreads([[0.05, 0.2], [0.15, 0.2], [0.1, 0.1], [0.1, 0.2 * WIDER * 1.01]])
    loss = wide_loss(covariance, torch.tensor([0.0, 0, 1, 1]))
    loss.backward()
    hinges = [math.log(WIDER), math.log(2 * WIDER), math.log(WIDER), 0]
    assert loss.item() == pytest.approx(sum(hinges) / 8, rel=1e-5)  # over 4 faces and 2 points
    assert covariance.grad is not None
    assert not covariance.grad[:2].any() and not covariance.grad[3, 1].any()  # upright faces; a map wide enough
    # d log √(a + c) = ½/(a + c)
    assert covariance.grad[2, 0].tolist() == pytest.approx([-0.5 / 0.01 / 8, 0, -0.5 / 0.01 / 8], rel=1e-5)
    assert wide_loss(covariance, torch.ones(4)).item() == 0  # no other face says what is usual
    assert wide_loss(covariance, torch.zeros(4)).item() == 0


def test_a_turned_crop_learns_by_its_spread_alone() -> None:
    """Weights of 0 and a pose of NaN: no gradient reaches its points or its pose, and the spread loss leaves it out."""
    points, pose = torch.rand(2, 5, 2).requires_grad_(), torch.zeros(2, 3).requires_grad_()
    covariance = spreads([[0.1] * 5, [0.1] * 5])
    stage = Prediction({"2d5": points}, {"2d5": covariance}, pose, None, None)
    targets = Targets(
        {"2d5": torch.rand(2, 5, 2)}, {"2d5": torch.tensor([[1.0], [0.0]]).expand(2, 5)},
        torch.tensor([[1.0, 2, 3], [math.nan] * 3]), torch.tensor([0.0, 1]),
    )  # fmt: skip
    whole = Prediction({"2d5": points}, {"2d5": covariance}, pose, None, (stage,))
    without, _ = cascade_loss(whole, targets, spread_weight=0.1)
    total, parts = cascade_loss(whole, targets, spread_weight=0.1, wide_weight=0.5)
    assert parts["stage1/wide"].item() == pytest.approx(math.log(WIDER) / 2, rel=1e-5)
    assert (total - without).item() == pytest.approx(0.5 * math.log(WIDER) / 2, rel=1e-4)
    total.backward()
    assert points.grad is not None and pose.grad is not None and covariance.grad is not None
    assert points.grad[0].any() and not points.grad[1].any()
    assert pose.grad[0].any() and not pose.grad[1].any()
    assert covariance.grad[1, :, 2].tolist() == pytest.approx([0.5 * -0.5 / 0.01 / 10] * 5, rel=1e-4)


def test_pose_loss_by_hand() -> None:
    predicted = torch.tensor([[9.0, 0.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    target = torch.tensor([[0.0, -9.0, 18.0], [float("nan"), 0.0, 0.0]])
    loss = pose_loss(predicted, target)
    loss.backward()
    assert loss.item() == pytest.approx((9 + 9 + 18) / 90 / 2)  # the unknown face counts as 0
    assert predicted.grad is not None
    assert predicted.grad[1].tolist() == [0, 0, 0]


def test_cascade_weighs_stages_markups_and_pose() -> None:
    zeros, points = torch.zeros(1, 3), torch.zeros(1, 5, 2)
    stages = tuple(prediction(points + 0.1 * (i + 1), zeros + 9 * (i + 1), None) for i in range(4))
    targets = Targets({"2d5": points, "2d98": torch.zeros(1, 98, 2)}, {}, zeros)  # 98 points: not in the network
    last = prediction(points, zeros, stages)
    total, parts = cascade_loss(last, targets, pose_weight=0.5, markup_weights={"2d5": 3.0})
    # stage i: landmarks 0.2·i, pose 3·9·i/90 = 0.3·i
    expected = sum(w * (3.0 * 0.2 * i + 0.5 * 0.3 * i) for i, w in enumerate((0.125, 0.25, 0.5, 1.0), 1))
    assert total.item() == pytest.approx(expected)
    own, _ = cascade_loss(last, targets, 0.5, {"2d5": 3.0}, (1.0, 0.0, 0.0, 2.0))
    assert own.item() == pytest.approx(1 * (3.0 * 0.2 + 0.5 * 0.3) + 2 * (3.0 * 0.8 + 0.5 * 1.2))
    assert parts["stage3/2d5"].item() == pytest.approx(0.6)
    assert parts["stage2/pose"].item() == pytest.approx(0.6)
    with pytest.raises(ValueError, match="2d98"):
        cascade_loss(last, Targets({"2d98": torch.zeros(1, 98, 2)}, {}))
    with pytest.raises(ValueError, match="all_stages"):
        cascade_loss(stages[0], targets)


def test_loss_of_a_batch_is_the_mean_of_its_halves() -> None:
    """Distributed training relies on this, also with unknown points and poses."""
    torch.manual_seed(0)
    predicted, target, weights = torch.rand(4, 5, 2), torch.rand(4, 5, 2), torch.rand(4, 5).round()
    pose = torch.rand(4, 3) * 90
    pose[1] = float("nan")
    whole = landmark_loss(predicted, target, weights) + pose_loss(torch.zeros(4, 3), pose)
    halves = [
        landmark_loss(predicted[h], target[h], weights[h]) + pose_loss(torch.zeros(2, 3), pose[h])
        for h in (slice(0, 2), slice(2, 4))
    ]
    assert whole.item() == pytest.approx(sum(halves).item() / 2, rel=1e-6)
