"""The polynomial that `Model.align` adds to the network's pose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: small networks are made with it")

from small import small_weights

from acdc_fast import Model
from acdc_fast.errors import InputError
from acdc_fast.head_pose import TERMS, corrected, terms
from acdc_fast.weights import Weights, load_weights, save_weights

PHOTO = Path(__file__).parent.parent / "examples" / "astronaut.jpg"
RNG = np.random.default_rng(0)


def test_terms_by_hand() -> None:
    points = np.array([[[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]]])  # 2:1, not leaning
    a, b, c, d, e = 1.0, -0.5, 0.2, np.log(2.0), 0.0
    expected = [1, a, b, c, d, e, a * a, a * b, a * c, a * d, 0, b * b, b * c, b * d, 0, c * c, c * d, 0, d * d, 0, 0]
    assert terms([[45.0, -22.5, 9.0]], points)[0] == pytest.approx(expected, abs=1e-8)
    assert len(expected) == TERMS
    leaning = np.array([[[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]]])
    assert terms([[0.0, 0.0, 0.0]], leaning)[0, 5] == pytest.approx(1)


def test_neither_size_nor_place_counts_and_far_values_are_held() -> None:
    points, pose = RNG.normal(size=(3, 68, 2)), RNG.normal(size=(3, 3)) * 30
    assert terms(pose, 7 * points + 100) == pytest.approx(terms(pose, points))
    far = terms([[1e6, -1e6, 0.0]], points[:1] * [1e9, 1.0])
    assert np.abs(far).max() <= 2.5**2
    assert np.isfinite(terms(pose, np.zeros((3, 68, 2)))).all()  # all points in one place


def with_pose(numbers: np.ndarray) -> Weights:
    return replace(small_weights(), pose=tuple(map(tuple, numbers.tolist())))


def test_align_adds_it_and_the_network_does_not(tmp_path: Path) -> None:
    numbers = RNG.normal(size=(TERMS, 3))
    save_weights(tmp_path / "a.safetensors", with_pose(numbers))
    plain, better = Model(small_weights()), Model(tmp_path / "a.safetensors")
    before, after = plain.align(PHOTO), better.align(PHOTO)
    assert before.pose is not None and after.pose is not None

    def angles(faces: object) -> np.ndarray:
        pose = faces.pose  # type: ignore[attr-defined]
        return np.stack([pose.yaw, pose.pitch, pose.roll], 1)

    expected = corrected(angles(before), before.landmarks["3d68"], numbers)
    assert angles(after) == pytest.approx(expected, abs=1e-3)
    assert np.abs(angles(after) - angles(before)).max() > 0.1
    crops = RNG.random((2, 1, 32, 32), np.float32)
    assert np.array_equal(plain(crops).pose, better(crops).pose)


@pytest.mark.parametrize("numbers", [np.zeros((TERMS, 2)), np.full((TERMS, 3), np.nan), np.zeros((3, 3))])
def test_wrong_numbers_are_refused(tmp_path: Path, numbers: np.ndarray) -> None:
    save_weights(tmp_path / "a.safetensors", with_pose(numbers))
    with pytest.raises(InputError, match="its pose is made with"):
        load_weights(tmp_path / "a.safetensors")
