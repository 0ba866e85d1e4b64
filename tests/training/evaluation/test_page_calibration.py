"""The page draws confidence over being right only where there is a line to draw."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from acdc_fast.training.evaluation import page_figures
from acdc_fast.training.evaluation.page_figures import ENOUGH, reliability
from acdc_fast.training.fits.calibration import NEAR


def seen_of(right: np.ndarray) -> Any:
    """One face with these points of a markup right or wrong, its crop 200 pixels wide."""
    target = np.zeros((1, len(right), 2))
    points = target + np.where(right, 0.5, 1.5)[None, :, None] * 200 * NEAR / np.sqrt(2)
    return SimpleNamespace(
        points=[{"2d68": points}],
        labelled=lambda markup: (target, np.array([0])),
        missed=np.zeros(1, bool),
        spread={"2d68": np.zeros((1, len(right)))},
        mean_spreads=[np.zeros(1)],
        side=np.array([200.0]),
    )


def given(monkeypatch: pytest.MonkeyPatch, sure: np.ndarray) -> None:
    monkeypatch.setattr(page_figures, "confidence", lambda *_: sure[None])


def test_a_class_is_its_mean_and_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.21 and 0.25 are one class, with a quarter right; 0.9 is another, all right; 0.5 has a point too few."""
    given(monkeypatch, np.repeat([0.21, 0.25, 0.9, 0.5], [10, 10, ENOUGH, ENOUGH - 1]))
    right = np.repeat([True, False, True, False], [5, 15, ENOUGH, ENOUGH - 1])
    figure = reliability(seen_of(right), {"2d68": ()})
    assert figure is not None
    line = figure.axes[0].lines[0]
    assert line.get_label() == "2d68"
    assert np.allclose(line.get_xydata(), [(0.23, 0.25), (0.9, 1.0)])


@pytest.mark.parametrize("sure", [np.full(40, 0.9), np.repeat([0.2, 0.9], [ENOUGH - 1, 40])])
def test_one_class_is_no_line(monkeypatch: pytest.MonkeyPatch, sure: np.ndarray) -> None:
    given(monkeypatch, sure)
    assert reliability(seen_of(np.ones(len(sure), bool)), {"2d68": ()}) is None


def test_a_markup_without_calibration_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, np.repeat([0.2, 0.9], 20))
    assert reliability(seen_of(np.ones(40, bool)), {}) is None
