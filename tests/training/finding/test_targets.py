"""Which cells learn which face."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from acdc_fast.detector.network import Detector, decoded
from acdc_fast.detector.plan import LEVELS
from acdc_fast.training.finding.loss import detection_loss
from acdc_fast.training.finding.targets import targets


def split(values: np.ndarray, side: int) -> list[np.ndarray]:
    cells = [-(-side // stride) for _, stride in LEVELS]
    parts = np.split(values, np.cumsum([n * n for n in cells])[:-1])
    return [part.reshape(n, n, *part.shape[1:]) for part, n in zip(parts, cells, strict=True)]


def test_each_size_has_its_level() -> None:
    boxes = np.array([[10.0, 10, 24, 24], [60, 20, 104, 64], [20, 60, 140, 180]])
    labels, wanted = targets(boxes, np.ones(3, bool), 200)
    for level, (label, target) in enumerate(zip(split(labels, 200), split(wanted, 200), strict=True)):
        assert set(map(tuple, target[label == 1])) == {tuple(np.float32(boxes[level]))}
        stride = LEVELS[level][1]
        y, x = np.nonzero(label == 1)
        middle = (boxes[level, :2] + boxes[level, 2:]) / 2
        reach = max(0.25 * np.sqrt(np.prod(boxes[level, 2:] - boxes[level, :2])), 0.6 * stride)
        assert (abs(np.stack([x, y], 1) * stride - middle) <= reach + stride / 2).all()


def test_between_two_levels_both_are_taught() -> None:
    labels, _ = targets(np.array([[50.0, 50, 76, 76]]), np.ones(1, bool), 160)
    fine, middle, coarse = split(labels, 160)
    assert (fine == 1).any() and (middle == 1).any() and not (coarse == 1).any()


def test_what_does_not_count_is_left_out() -> None:
    boxes = np.array([[40.0, 40, 60, 60]])
    labels, _ = targets(boxes, np.zeros(1, bool), 160)
    assert not (labels == 1).any() and (labels == -1).any()
    fine = split(labels, 160)[0]
    assert fine[6, 6] == -1 and fine[0, 0] == 0


def test_the_smaller_face_is_not_overwritten() -> None:
    boxes = np.array([[20.0, 20, 48, 48], [28, 28, 40, 40]])
    for order in ([0, 1], [1, 0]):
        labels, wanted = targets(boxes[order], np.ones(2, bool), 96)
        fine, target = split(labels, 96)[0], split(wanted, 96)[0]
        assert fine[4, 4] == 1
        np.testing.assert_array_equal(target[4, 4], boxes[1])


def test_a_cell_of_one_face_that_lies_in_another_stays_its_own() -> None:
    boxes = np.array([[16.0, 16, 44, 44], [28, 16, 52, 40]])
    labels, wanted = targets(boxes, np.ones(2, bool), 96)
    fine, target = split(labels, 96)[0], split(wanted, 96)[0]
    assert fine[3, 4] == fine[3, 5] == 1
    np.testing.assert_array_equal(target[3, 4], boxes[0])
    np.testing.assert_array_equal(target[3, 5], boxes[1])


def test_no_faces() -> None:
    labels, wanted = targets(np.zeros((0, 4)), np.zeros(0, bool), 100)
    assert not labels.any() and labels.shape == (13 * 13 + 7 * 7 + 4 * 4,) == wanted.shape[:1]


def test_loss_is_nothing_for_the_wanted_answer_and_ignores_what_is_left_out() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 12], [5, 5, 9, 9], [1, 1, 50, 60]]])
    labels = torch.tensor([[1, 0, -1]])
    wanted = torch.tensor([[[0.0, 0, 10, 12], [0, 0, 0, 0], [0, 0, 0, 0]]])
    scores, places = detection_loss(torch.tensor([[20.0, -20, 20]]), boxes, labels, wanted)
    assert scores < 1e-6 and places < 1e-5
    wrong, _ = detection_loss(torch.tensor([[20.0, 3, 20]]), boxes, labels, wanted)
    assert wrong > 1
    _, shifted = detection_loss(torch.tensor([[20.0, -20, 20]]), boxes + torch.tensor([2.0, 0, 2, 0]), labels, wanted)
    assert shifted > 0.2
    finite, places = detection_loss(torch.zeros(1, 3), boxes, torch.zeros(1, 3, dtype=torch.long), wanted)
    assert torch.isfinite(finite) and places == 0


def test_a_box_that_fits_well_enough_scores_as_a_whole_face() -> None:
    """The loss of the scores is least at 1.4 times the overlap, at most 1; of a poor box at 0.3."""
    wanted = torch.tensor([[[0.0, 0, 10, 10]]])
    for width, goal in ((10.0, 1.0), (8.0, 1.0), (6.0, 0.84), (1.0, 0.3)):
        logits = torch.tensor([[0.0]], requires_grad=True)
        scores, _ = detection_loss(logits, torch.tensor([[[0.0, 0, width, 10]]]), torch.tensor([[1]]), wanted)
        (slope,) = torch.autograd.grad(scores, logits)  # goal · (σ(0) − goal)
        assert float(slope) == pytest.approx(goal * (0.5 - goal), abs=1e-5)


def test_decoded_cells_are_those_of_the_targets() -> None:
    """The targets of a cell, written as outputs, decode to the same box in the same place."""
    side, box = 75, np.array([[31.0, 18, 49, 40]])
    labels, wanted = targets(box, np.ones(1, bool), side)
    network = Detector().eval()
    with torch.no_grad():
        outputs = [torch.zeros_like(out) for out in network(torch.zeros(1, 1, side, side))]
    for (_, stride), out, label, target in zip(LEVELS, outputs, split(labels, side), split(wanted, side), strict=True):
        for y, x in zip(*np.nonzero(label == 1), strict=True):
            x0, y0, x1, y1 = (float(v) for v in target[y, x])
            values = [1.0, (x0 + x1) / 2 / stride - x, (y0 + y1) / 2 / stride - y]
            out[0, :, y, x] = torch.tensor([*values, np.log((x1 - x0) / stride), np.log((y1 - y0) / stride)])
    logits, boxes = decoded(outputs)
    chosen = logits[0] > 0.5
    np.testing.assert_array_equal(chosen.numpy(), labels == 1)
    np.testing.assert_allclose(boxes[0, chosen].numpy(), np.repeat(box, int(chosen.sum()), 0), atol=1e-4)
