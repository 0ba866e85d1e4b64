"""Confidence fitted to points whose chance of being right is known."""

from __future__ import annotations

import numpy as np
import pytest

from acdc_fast.training.calibration import expected_calibration_error, fit_confidence


@pytest.mark.parametrize("offset", [8.0, 5.0])  # about half right; nearly all right
def test_fit_recovers_the_law(offset: float) -> None:
    rng = np.random.default_rng(0)
    spread = np.exp(rng.normal(-3.5, 0.6, 40_000))
    truth = 1 / (1 + np.exp(2.5 * np.log(spread) + offset))
    right = rng.random(len(truth)) < truth
    a, b = fit_confidence(spread, right)
    assert (a, b) == (pytest.approx(2.5, abs=0.15), pytest.approx(offset, abs=0.5))  # 3 standard errors
    found = 1 / (1 + np.exp(a * np.log(spread) + b))
    assert expected_calibration_error(found, right) < 0.01
    assert expected_calibration_error(np.full(len(right), right.mean() + 0.1), right) == pytest.approx(0.1)


def test_doubt_never_raises_confidence() -> None:
    rng = np.random.default_rng(1)
    spread = np.exp(rng.normal(-3, 1, 2000))
    a, b = fit_confidence(spread, spread > np.median(spread))
    assert a == 0
    assert 1 / (1 + np.exp(b)) == pytest.approx(0.5, abs=0.01)


def test_all_right_stays_finite() -> None:
    a, b = fit_confidence(np.full(500, 0.02), np.ones(500, bool))
    assert np.isfinite([a, b]).all()
    assert 1 / (1 + np.exp(a * np.log(0.02) + b)) > 0.95
