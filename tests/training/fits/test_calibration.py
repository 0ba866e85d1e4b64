"""Confidence fitted to points whose chance of being right is known."""

from __future__ import annotations

import numpy as np
import pytest

from acdc_fast.readout.confidence import confidence
from acdc_fast.training.fits.calibration import NEAR, expected_calibration_error, fit_confidence
from acdc_fast.training.metrics import rank_correlation

LEVELS = np.array([0.5, 1.0, 2.0])  # one point errs more than another of the same spread


def faces(count: int, own: float, whole: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spreads, the faces' mean spreads and errors that follow the law, times noise that no map can know of."""
    rng = np.random.default_rng(seed)
    face = np.exp(rng.normal(-3.0, 0.4, count))
    spread = face[:, None] * np.exp(rng.normal(0, 0.4, (count, 3)))
    scale = 2 * LEVELS * spread**own * face[:, None] ** whole
    return spread, face, scale * np.exp(rng.normal(0, 0.5, spread.shape))


def test_fit_recovers_the_law() -> None:
    spread, face, gap = faces(20_000, 0.8, 0.4)
    numbers = fit_confidence(spread, face, gap)
    assert len(numbers) == 2 + 3
    assert numbers[0] / numbers[1] == pytest.approx(2.0, rel=0.1)
    steepness = numbers[0] / 0.8
    assert np.diff(numbers[2:]) == pytest.approx(steepness * np.diff(np.log(LEVELS)), rel=0.1)
    other = faces(20_000, 0.8, 0.4, seed=1)  # faces that nothing was fitted to
    found, right = confidence(other[0], other[1], numbers), other[2] < NEAR
    assert expected_calibration_error(found.ravel(), right.ravel()) < 0.02
    assert expected_calibration_error(np.full(right.size, right.mean() + 0.1), right.ravel()) == pytest.approx(0.1)
    spread_alone = rank_correlation(other[0].ravel(), other[2].ravel())
    assert rank_correlation(-found.ravel(), other[2].ravel()) > spread_alone + 0.05


def test_doubt_never_raises_confidence() -> None:
    spread, face, gap = faces(2000, -0.5, -0.5)
    own, whole, *points = fit_confidence(spread, face, gap * NEAR / np.median(gap))
    assert (own, whole) == (0, 0) and points[0] < points[2]  # what the point is still counts


def test_all_right_stays_finite() -> None:
    spread, face, _ = faces(200, 1, 0)
    numbers = fit_confidence(spread, face, np.full(spread.shape, 1e-4))
    assert np.isfinite(numbers).all()
    assert confidence(spread, face, numbers).min() > 0.99
