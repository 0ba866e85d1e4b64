"""The fit finds the true pose, with some wild points, and with points on the outline or on the jaw line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acdc_fast.errors import InputError
from acdc_fast.photo.coordinates import euler_to_matrix
from acdc_fast.training.data.pose_fit import NEUTRAL_PITCH, FaceModel, _rotation, fit_pose


def made_up_model() -> FaceModel:
    """A head of about the right proportions (cm): an egg, a nose, and random smooth offsets."""
    rng = np.random.default_rng(0)
    side = np.linspace(-np.pi / 2, np.pi / 2, 17)
    jaw = np.stack([7.8 * np.sin(side), 3 - 10 * np.cos(side), 1 + 8 * np.cos(side)], 1)
    front = jaw * (0.95, 0.9, 1) + (0, 0, 2)
    u = rng.uniform(-1, 1, (51, 2)) * (4.5, 5)
    inner = np.stack([u[:, 0], u[:, 1], 11 - 0.12 * u[:, 0] ** 2 - 0.05 * u[:, 1] ** 2], 1)
    inner[10:19] = np.stack([np.linspace(-1, 1, 9), np.linspace(3, -1, 9), np.linspace(10.5, 13.5, 9)], 1)
    basis = rng.normal(size=(12, 85, 3)) * 0.1
    return FaceModel(np.concatenate([front, inner, jaw]), basis, np.ones(12))


POSES = np.array([(0, 0, 0), (30, 10, -15), (-45, -20, 25), (60, 5, 40), (-10, 30, -60)], float)
SCALE, SHIFT = 6.5, np.array([80.0, 95.0])


def image_points(model: FaceModel, poses: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """(N, 85, 2) by the definition: first the neutral pitch, then the pose turns the head."""
    head = model.mean + np.einsum("nk,kpj->npj", coefficients, model.basis)
    head = head @ euler_to_matrix(0, NEUTRAL_PITCH, 0).T
    turned = head @ euler_to_matrix(*poses.T)  # rows of X: (Rᵀ X)ᵀ = Xᵀ R
    return turned[..., :2] * (1, -1) * SCALE + SHIFT


def solid_points(model: FaceModel, noise: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(1)
    points = image_points(model, POSES, rng.normal(size=(len(POSES), 12)) * 0.5)
    return np.concatenate([points[:, 68:], points[:, 17:68]], 1) + rng.normal(size=(len(POSES), 68, 2)) * noise


def test_solid_points_give_their_pose_back() -> None:
    model = made_up_model()
    points = solid_points(model)
    fit = fit_pose(points, model, solid=True)
    assert np.abs(fit.pose - POSES).max() < 1.5  # priors pull the shape, and with it the pose, a little
    assert np.abs(fit.points - points).max() < 0.1 * SCALE and fit.error.max() < 0.05
    assert np.abs(fit.scale / SCALE - 1).max() < 0.03


def test_a_few_wild_points_change_little() -> None:
    model = made_up_model()
    points = solid_points(model, 0.3)
    points[:, [3, 20, 40, 50]] += (25, -20)
    fit = fit_pose(points, model, solid=True)
    assert np.abs(fit.pose - POSES).max() < 4
    good = fit_pose(solid_points(model, 0.3), model, solid=True)
    assert np.abs(fit.pose - good.pose).max() < 3


def test_points_along_the_outline() -> None:
    """Outline points between jaw and front, slid along the outline: the pose stays, and the jaw line comes back."""
    model = made_up_model()
    points = image_points(model, POSES, np.zeros((len(POSES), 12)))
    outline = 0.4 * points[:, :17] + 0.6 * points[:, 68:]
    slid = outline + 0.3 * np.gradient(outline, axis=1)
    fit = fit_pose(np.concatenate([slid, points[:, 17:68]], 1), model)
    assert np.abs(fit.pose - POSES).max() < 2.5
    assert np.linalg.norm(fit.points[:, :17] - points[:, 68:], axis=2).mean() < 0.5 * SCALE


def test_no_faces_and_wrong_shapes() -> None:
    model = made_up_model()
    assert fit_pose(np.zeros((0, 68, 2)), model).pose.shape == (0, 3)
    with pytest.raises(ValueError, match=r"\(N, 68, 2\), not \(3, 5, 2\)"):
        fit_pose(np.zeros((3, 5, 2)), model)


def test_rotation_vectors() -> None:
    turned = _rotation(np.array([[0, 0, np.pi / 2], [0, 0, 0], [np.pi / 2, 0, 0]]))
    assert np.allclose(turned[0] @ [1, 0, 0], [0, 1, 0]) and np.allclose(turned[1], np.eye(3))
    assert np.allclose(turned[2] @ [0, 1, 0], [0, 0, 1])


def test_face_model_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ict_facekit\.npz: not the face model"):
        FaceModel.load(tmp_path / "ict_facekit.npz")
    np.savez(tmp_path / "ict_facekit.npz", neutral=np.zeros((10, 3)))
    with pytest.raises(InputError, match="landmarks68"):
        FaceModel.load(tmp_path / "ict_facekit.npz")
