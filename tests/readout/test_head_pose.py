"""The polynomial that `Model.align` adds to the network's pose."""

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
from acdc_fast.readout.head_pose import COMPONENTS, INPUTS, REACH, TERMS, Readout, corrected, terms
from acdc_fast.readout.shape_model import shapes
from acdc_fast.weights import Weights, load_weights, save_weights

RNG = np.random.default_rng(0)


def test_terms_by_hand() -> None:
    points = np.array([[[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]]])
    shape = np.array([-2.0, -1, 2, -1, 2, 1, -2, 1]) / np.sqrt(2.5)
    assert shapes(points)[0] == pytest.approx(shape, abs=1e-8)
    mean, basis = RNG.normal(size=8), RNG.normal(size=(COMPONENTS, 8)) / 8
    x = [1.0, -0.5, 0.2, *(basis @ (shape - mean))]
    expected = [1, *x, *(x[i] * x[j] for i in range(INPUTS) for j in range(i, INPUTS))]
    assert terms([[45.0, -22.5, 9.0]], points, mean, basis)[0] == pytest.approx(expected, abs=1e-7)
    assert len(expected) == TERMS


def test_neither_size_nor_place_counts_and_far_values_are_held() -> None:
    points, pose, readout = RNG.normal(size=(3, 68, 2)), RNG.normal(size=(3, 3)) * 30, a_readout()
    parts = readout.mean, readout.basis
    assert terms(pose, 7 * points + 100, *parts) == pytest.approx(terms(pose, points, *parts))
    far = terms([[1e6, -1e6, 0.0]], points[:1] * [1e9, 1.0], readout.mean, 1e3 * readout.basis)
    assert np.abs(far).max() <= REACH**2
    assert np.isfinite(terms(pose, np.zeros((3, 68, 2)), *parts)).all()  # all points in one place


def a_readout(points: int = 68) -> Readout:
    basis = RNG.normal(size=(COMPONENTS, 2 * points)) / points
    return Readout(RNG.normal(size=2 * points), basis, RNG.normal(size=(TERMS, 3)))


def with_pose(readout: Readout) -> Weights:
    return replace(small_weights(), pose=readout)


def test_align_adds_it_and_the_network_does_not(tmp_path: Path) -> None:
    readout = a_readout()
    save_weights(tmp_path / "a.safetensors", with_pose(readout))
    plain, better = Model(small_weights()), Model(tmp_path / "a.safetensors")
    before, after = plain.align(PHOTO), better.align(PHOTO)
    assert before.pose is not None and after.pose is not None

    def angles(faces: object) -> np.ndarray:
        pose = faces.pose  # type: ignore[attr-defined]
        return np.stack([pose.yaw, pose.pitch, pose.roll], 1)

    expected = corrected(angles(before), before.landmarks["3d68"], readout)
    assert angles(after) == pytest.approx(expected, abs=1e-3)
    assert np.abs(angles(after) - angles(before)).max() > 0.1
    crops = RNG.random((2, 1, 32, 32), np.float32)
    assert np.array_equal(plain(crops).pose, better(crops).pose)


@pytest.mark.parametrize(
    ("change", "told"),
    [({"numbers": np.zeros((TERMS, 2))}, "has shape"), ({"mean": np.zeros(4)}, "has shape"),
     ({"numbers": np.full((TERMS, 3), np.nan)}, "holds numbers that are not finite"),
     ({"basis": np.zeros((COMPONENTS, 134))}, "has shape")],
)  # fmt: skip
def test_wrong_numbers_are_refused(tmp_path: Path, change: dict[str, np.ndarray], told: str) -> None:
    save_weights(tmp_path / "a.safetensors", with_pose(replace(a_readout(), **change)))
    with pytest.raises(InputError, match=rf"a\.safetensors: pose\.{next(iter(change))} {told}"):
        load_weights(tmp_path / "a.safetensors")


def test_a_file_holds_it_whatever_its_strides(tmp_path: Path) -> None:
    readout = a_readout()
    turned = Readout(readout.mean[::-1], np.asfortranarray(readout.basis), np.asfortranarray(readout.numbers))
    save_weights(tmp_path / "a.safetensors", with_pose(turned))
    found = load_weights(tmp_path / "a.safetensors").pose
    assert found is not None
    for name in ("mean", "basis", "numbers"):
        assert getattr(found, name) == pytest.approx(getattr(turned, name), rel=1e-6)


def test_parts_of_it_and_an_older_version_s_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", with_pose(a_readout()))
    with safe_open(tmp_path / "a.safetensors", "np") as file:
        metadata, arrays = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    basis = arrays.pop("pose.basis")
    save_file(arrays, tmp_path / "cut.safetensors", metadata)
    with pytest.raises(InputError, match="its tensors are not those that were saved in it"):
        load_weights(tmp_path / "cut.safetensors")
    del metadata["digest"]  # as in files of before it was kept
    save_file(arrays, tmp_path / "part.safetensors", metadata)
    with pytest.raises(InputError, match=r"'pose\.basis' is missing"):
        load_weights(tmp_path / "part.safetensors")
    save_file(arrays | {"pose.basis": basis}, tmp_path / "old.safetensors", metadata | {"pose": "[[0, 0, 0]]"})
    with pytest.raises(InputError, match="--pose' fits it again"):
        load_weights(tmp_path / "old.safetensors")
