"""Confidence over boxes of every kind: how boxes are loosened, and which errors count."""

from __future__ import annotations

import numpy as np
import pytest

from acdc_fast.readout.confidence import confidence
from acdc_fast.training.fits.calibration import NEAR, fit_confidence
from acdc_fast.training.fits.confidence_fit import SpreadsAndErrors, joined, loosened


def test_loosened_boxes_are_those_of_training() -> None:
    box = np.array([10.0, 20.0, 50.0, 80.0])
    boxes = np.array([loosened(box, np.random.default_rng(i)) for i in range(500)])
    size, middle = boxes[:, 2:] - boxes[:, :2], (boxes[:, :2] + boxes[:, 2:]) / 2
    scale, away = size / [40, 60], (middle - [30, 50]) / [40, 60]
    assert np.allclose(scale[:, 0], scale[:, 1]) and 0.6 <= scale.min() < 0.62 and 1.95 < scale.max() <= 2
    assert 0.29 < np.abs(away).max() <= 0.3 and abs(away.mean()) < 0.02
    assert (loosened(box, np.random.default_rng(3)) == boxes[3]).all()


def test_faces_without_labels_are_left_out() -> None:
    """Of two sources the second has no labels of this markup; its maps still count in no face's mean but its own."""
    spreads = {"a": np.full((3, 2), 0.1), "b": np.full((3, 4), 0.4)}
    one = SpreadsAndErrors(spreads, {"a": np.ones((3, 2))}, np.ones(3))
    spreads = {"a": np.full((5, 2), 9.0), "b": np.full((5, 4), 9.0)}
    two = SpreadsAndErrors(spreads, {"a": np.full((5, 2), np.nan)}, np.ones(5))
    spread, face, gap = joined([one, two], "a")
    assert spread.shape == gap.shape == (3, 2) and face == pytest.approx(np.full(3, 0.3))


def test_unknown_errors_change_nothing() -> None:
    rng = np.random.default_rng(0)
    spread, face = rng.uniform(0.01, 0.1, (400, 3)), rng.uniform(0.02, 0.08, 400)
    gap = spread * rng.exponential(1.0, (400, 3))
    more = [np.concatenate([spread, 7 * spread]), np.concatenate([face, face]), np.concatenate([gap, np.nan * gap])]
    assert fit_confidence(*more) == pytest.approx(fit_confidence(spread, face, gap), rel=1e-6)
    holes = np.where(rng.random(gap.shape) < 0.3, np.nan, gap)
    sure = confidence(spread, face, fit_confidence(spread, face, holes))
    assert abs(sure.mean() - (gap < NEAR).mean()) < 0.05
