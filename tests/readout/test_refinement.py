"""The polynomial that `Model.align` adds to the maps' first moments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: small networks are made with it")

from helpers.paths import PHOTO
from helpers.small import small_weights
from safetensors import safe_open
from safetensors.numpy import save_file

from acdc_fast import Model
from acdc_fast.errors import InputError
from acdc_fast.readout.head_pose import COMPONENTS, Readout, corrected
from acdc_fast.readout.refinement import REACH, SQUARED, Refinement, refined, terms, terms_of
from acdc_fast.readout.shape_model import shapes
from acdc_fast.weights import load_weights, save_weights

RNG = np.random.default_rng(0)
POINTS = {"2d98": 98, "2d68": 68, "2d5": 5, "3d68": 68}
COUNT = 20  # components


def a_refinement(markups: tuple[str, ...] = ("2d68", "3d68")) -> Refinement:
    width = 2 * sum(POINTS.values())
    numbers = {m: RNG.normal(size=(terms_of(COUNT), 2 * POINTS[m])) / 30 for m in markups}
    return Refinement(RNG.normal(size=width), RNG.normal(size=(COUNT, width)) / width, numbers)


def faces(count: int) -> dict[str, np.ndarray]:
    return {m: RNG.uniform(size=(count, n, 2)) for m, n in POINTS.items()}


def test_by_hand() -> None:
    landmarks, refinement = faces(2), a_refinement()
    points = np.concatenate([landmarks[m] for m in POINTS], 1)
    x = (shapes(points) - refinement.mean) @ refinement.basis.T
    better = refined(landmarks, refinement, tuple(POINTS))
    for face in range(2):
        products = [x[face, i] * x[face, j] for i in range(SQUARED) for j in range(i, SQUARED)]
        known = np.array([1, *x[face], *products])
        size = np.sqrt(((points[face] - points[face].mean(0)) ** 2).mean())
        for markup in ("2d68", "3d68"):
            moved = landmarks[markup][face] + size * (known @ refinement.numbers[markup]).reshape(-1, 2)
            assert better[markup][face] == pytest.approx(moved, abs=1e-6)
    assert np.array_equal(better["2d5"], landmarks["2d5"])
    assert better["2d68"].dtype == np.float32


def test_it_goes_with_place_and_size_and_far_values_are_held() -> None:
    landmarks, refinement, order = faces(3), a_refinement(), tuple(POINTS)
    there = refined({m: 7 * p + [100, -20] for m, p in landmarks.items()}, refinement, order)
    for markup, points in refined(landmarks, refinement, order).items():
        assert there[markup] == pytest.approx(7 * points + [100, -20], abs=1e-4)
    points = np.concatenate([landmarks[m] for m in order], 1)
    assert np.abs(terms(shapes(points), refinement.mean, 1e6 * refinement.basis)).max() <= REACH**2
    nowhere = shapes(np.zeros_like(points))  # all points in one place
    assert np.isfinite(terms(nowhere, refinement.mean, refinement.basis)).all()


def test_align_adds_it_and_the_network_does_not(tmp_path: Path) -> None:
    refinement, weights = a_refinement(), small_weights()
    for markup in POINTS:  # maps that look somewhere, so that the points have a shape
        weights.arrays[f"gtn.transfer.{markup}"] *= 100
    save_weights(tmp_path / "a.safetensors", replace(weights, refinement=refinement))
    plain, better = Model(weights), Model(tmp_path / "a.safetensors")
    before, after = plain.align(PHOTO), better.align(PHOTO)
    expected = refined(before.landmarks, refinement, plain.config.order)
    for markup in POINTS:
        assert after.landmarks[markup] == pytest.approx(expected[markup], abs=1e-2)  # pixels
    assert np.abs(after.landmarks["2d68"] - before.landmarks["2d68"]).max() > 1
    assert np.array_equal(after.landmarks["2d5"], before.landmarks["2d5"])
    assert np.array_equal(after.spread["2d68"], before.spread["2d68"])
    crops = RNG.random((2, 1, 32, 32), np.float32)
    assert np.array_equal(plain(crops).landmarks["2d68"], better(crops).landmarks["2d68"])


def test_half_precision_moves_points_by_thousandths(tmp_path: Path) -> None:
    """Coefficients have eleven bits: the correction, a tenth of the face here, is wrong by 2⁻¹¹ of itself per term."""
    refinement, weights, landmarks = a_refinement(), small_weights(), faces(20)
    save_weights(tmp_path / "a.safetensors", replace(weights, refinement=refinement), half=True)
    with safe_open(tmp_path / "a.safetensors", "np") as file:
        assert file.get_tensor("refinement.basis").dtype == np.float16
    rounded = load_weights(tmp_path / "a.safetensors").refinement
    assert rounded is not None
    whole, half = (refined(landmarks, r, tuple(POINTS))["2d68"] for r in (refinement, rounded))
    assert 0 < np.abs(whole - half).max() < 2e-3
    large = replace(refinement, basis=refinement.basis * 1e8)
    with pytest.raises(InputError, match="refinement.basis' is too large for half precision"):
        save_weights(tmp_path / "b.safetensors", replace(weights, refinement=large), half=True)
    much = {name: value * 1e8 if name == "gtn.pose.weight" else value for name, value in weights.arrays.items()}
    with pytest.raises(InputError, match="gtn.pose.weight' is too large for half precision"):
        save_weights(tmp_path / "b.safetensors", replace(weights, arrays=much), half=True)


def test_the_pose_s_polynomial_reads_refined_points() -> None:
    refinement, weights = a_refinement(), small_weights()
    for markup in POINTS:
        weights.arrays[f"gtn.transfer.{markup}"] *= 100
    readout = Readout(RNG.normal(size=136), RNG.normal(size=(COMPONENTS, 136)) / 30, RNG.normal(size=(171, 3)))
    before = Model(weights).align(PHOTO)
    after = Model(replace(weights, refinement=refinement, pose=readout)).align(PHOTO)
    assert before.pose is not None and after.pose is not None
    omega = np.stack([before.pose.yaw, before.pose.pitch, before.pose.roll], 1)
    expected = corrected(omega, after.landmarks["3d68"], readout)
    found = np.stack([after.pose.yaw, after.pose.pitch, after.pose.roll], 1)
    assert found == pytest.approx(expected, abs=1e-2)
    assert np.abs(expected - corrected(omega, before.landmarks["3d68"], readout)).max() > 0.1


@pytest.mark.parametrize(
    ("change", "told"),
    [({"mean": np.zeros(4)}, "refinement.mean has shape"), ({"basis": np.zeros((COUNT, 10))}, "basis has shape"),
     ({"basis": np.zeros((3, 478))}, "basis has shape"),
     ({"numbers": {"2d68": np.full((terms_of(COUNT), 136), np.nan)}}, "numbers.2d68 holds numbers that are not finite"),
     ({"numbers": {"2d68": np.zeros((5, 136))}}, "numbers.2d68 has shape"),
     ({"numbers": {"2d7": np.zeros((5, 14))}}, "no such markup")],
)  # fmt: skip
def test_wrong_numbers_are_refused(tmp_path: Path, change: dict[str, object], told: str) -> None:
    wrong = replace(a_refinement(), **change)  # type: ignore[arg-type]
    save_weights(tmp_path / "a.safetensors", replace(small_weights(), refinement=wrong))
    with pytest.raises(InputError, match=rf"a\.safetensors: .*{told}"):
        load_weights(tmp_path / "a.safetensors")


def test_a_file_holds_it_whatever_its_strides_and_parts_are_refused(tmp_path: Path) -> None:
    made = a_refinement()
    turned = Refinement(made.mean[::-1], np.asfortranarray(made.basis), {"2d98": np.asfortranarray(
        RNG.normal(size=(terms_of(COUNT), 196)))})  # fmt: skip
    save_weights(tmp_path / "a.safetensors", replace(small_weights(), refinement=turned))
    found = load_weights(tmp_path / "a.safetensors").refinement
    assert found is not None
    assert list(found.numbers) == ["2d98"]
    pairs = [(found.mean, turned.mean), (found.basis, turned.basis), (found.numbers["2d98"], turned.numbers["2d98"])]
    for got, expected in pairs:
        assert got == pytest.approx(expected, rel=1e-6)
    with safe_open(tmp_path / "a.safetensors", "np") as file:
        metadata, arrays = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del arrays["refinement.basis"], metadata["digest"]  # as in files of before the digest was kept
    save_file(arrays, tmp_path / "part.safetensors", metadata)
    with pytest.raises(InputError, match=r"'refinement\.basis' is missing"):
        load_weights(tmp_path / "part.safetensors")
