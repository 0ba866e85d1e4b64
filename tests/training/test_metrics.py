"""Metrics on cases computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from acdc_fast.training import metrics


def face(scale: float = 1.0) -> np.ndarray:
    """Five points with eyes 10·scale apart."""
    return np.array([[0, 0], [10, 0], [5, 6], [2, 10], [8, 10]], float) * scale


def test_eye_corners_of_each_markup() -> None:
    for count, left, right in ((98, 60, 72), (68, 36, 45), (29, 8, 9), (5, 0, 1)):
        points = np.zeros((1, count, 2))
        points[0, left], points[0, right] = (1, 2), (4, 6)
        assert metrics.eye_distance(points).tolist() == [5.0]
    with pytest.raises(ValueError, match="no markup has 21 points"):
        metrics.eye_distance(np.zeros((1, 21, 2)))


def test_box_size() -> None:
    assert metrics.box_size(np.array([[[0, 0], [4, 1], [2, 9]]])).tolist() == [6.0]


def test_nme_by_hand_and_misses() -> None:
    target = np.stack([face(), face(2), face()])
    predicted = target.copy()
    predicted[0, 2] += (3, 4)  # one point of five off by 5: 5 / 5 / 10 = 0.1
    predicted[1] += (0, 4)  # all off by 4 at 20 between the eyes: 0.2
    predicted[2] = np.nan
    errors = metrics.nme(predicted, target, metrics.eye_distance(target))
    assert errors == pytest.approx([0.1, 0.2, 1.0])


def test_failure_rate_and_area() -> None:
    errors = [0.0, 0.05, 0.1, 0.2]
    assert metrics.failure_rate(errors) == 0.25  # 0.1 itself is no failure
    # CED: ¼ on [0, 0.05), ½ on [0.05, 0.1): area 0.0375 of 0.1
    assert metrics.area_under_curve(errors) == pytest.approx(0.375)
    grid = np.linspace(0, 0.1, 100_001)
    spread = np.random.default_rng(0).gamma(2, 0.03, 500)
    binned = np.trapezoid([(spread <= x).mean() for x in grid[::10]], grid[::10]) / 0.1
    assert metrics.area_under_curve(spread) == pytest.approx(binned, abs=1e-3)  # trapezoids smear 500 steps


def test_euler_errors_take_the_shorter_way() -> None:
    found = metrics.euler_errors([[10, -5, 179]], [[13, 5, -179]])
    assert found.tolist() == [[3, 10, 2]]


def test_by_yaw() -> None:
    means, mean = metrics.by_yaw([1, 3, 5, 7, 100], [-29.9, 30, 59, -90, 120])
    assert means == {"[0,30]": 1.0, "[30,60]": 4.0, "[60,90]": 7.0}
    assert mean == 4.0


def turned(points: np.ndarray, degrees: float, scale: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return points @ np.array([[c, s], [-s, c]]) * scale


def test_offset_removed_takes_out_a_bias_in_the_faces_own_axes() -> None:
    rng = np.random.default_rng(1)
    bias = rng.normal(0, 1, (5, 2))
    target, predicted = [], []
    for _ in range(20):
        angle, scale, shift = rng.uniform(-60, 60), rng.uniform(0.5, 3), rng.uniform(-50, 50, 2)
        target.append(turned(face(), angle, scale) + shift)
        predicted.append(turned(face() + bias, angle, scale) + shift)
    target, predicted = np.array(target), np.array(predicted)
    plain = metrics.nme(predicted, target, metrics.eye_distance(target))
    assert plain == pytest.approx(np.full(20, np.linalg.norm(bias, axis=1).mean() / 10))
    assert metrics.offset_removed_nme(predicted, target) == pytest.approx(np.zeros(20), abs=1e-12)


def test_offset_is_learnt_on_the_other_half() -> None:
    target = np.stack([face()] * 4)
    predicted = target.copy()
    predicted[0] += (1, 0)  # even faces: 0 and 2; odd: 1 and 3
    predicted[2] += (3, 0)
    # even mean offset 0.2, odd 0: even faces keep 0.1 and 0.3, odd ones get 0.2
    assert metrics.offset_removed_nme(predicted, target) == pytest.approx([0.1, 0.2, 0.3, 0.2])
    predicted[2] = np.nan  # a miss teaches nothing: even mean offset 0.1
    assert metrics.offset_removed_nme(predicted, target) == pytest.approx([0.1, 0.1, 1.0, 0.1])


def test_a_point_without_a_label_gives_no_offset_and_gets_no_error() -> None:
    gap = np.zeros((4, 3, 2))
    gap[[0, 2], 0], gap[[1, 3], 1] = (1, 0), (0, 2)
    gap[2, 0] = gap[1, 1] = np.nan  # so face 0 alone tells point 0 of the even faces, face 3 alone point 1 of the odd
    gap[[0, 2], 2] = np.nan  # no even face knows point 2
    gap[1, 2] = (5, 5)
    fair = metrics.offsets_removed(gap)
    assert fair[:, 0].tolist() == [[1, 0], [-1, 0], pytest.approx([np.nan] * 2, nan_ok=True), [-1, 0]]
    assert fair[:, 1].tolist() == [[0, -2], pytest.approx([np.nan] * 2, nan_ok=True), [0, -2], [0, 2]]
    assert np.isnan(fair[[0, 2], 2]).all() and fair[[1, 3], 2].tolist() == [[5, 5], [0, 0]]


def test_separation() -> None:
    assert metrics.separation([1, 2], [3, 4]) == 1.0
    assert metrics.separation([1, 3], [2, 3]) == pytest.approx((1 + 0 + 1 + 0.5) / 4)
