"""Head pose and solid points from 68 points in the image: a robust fit of the ICT-FaceKit model.

The model's shape is neutral + identity + expression offsets (Li et al., "Learning Formation of Physically-Based Face
Attributes", CVPR 2020). The projection is weak perspective: p = s·(x, −y) + t of the rotated head. Gauss-Newton steps
find scale, shift, rotation and all offsets together, on a Huber loss (iteratively reweighted), with Gaussian priors on
the offsets. Many faces are fitted at once. The results are pseudo-labels: a fit, not a measurement.

Points on the visible outline mark no fixed places of the head: the outline moves over the cheek as the head turns. So
(nearly) only the distance across the outline counts, and the model's point may lie anywhere between the jaw line and
the cheek. The "3d68" that is returned has the jaw line itself, hidden or not, as 300W-LP and AFLW2000-3D have.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from acdc_fast.errors import InputError
from acdc_fast.photo.coordinates import euler_to_matrix, matrix_to_euler

from .arrays import NOT_ARRAYS

#: Vertices of the jaw line for points 0–16: those nearest to the jaw of AFLW2000-3D's faces. These were rotated back by
#: `Pose_Para`, averaged with their mirror image and aligned with the neutral head by the inner points (0.2 to 0.7 cm
#: away). The model's own points 0–16 lie further forward, on the outline as seen from the front.
JAW = (7511, 7798, 7846, 8847, 8858, 1830, 790, 2196, 969, 4387, 3031, 4032, 9181, 9170, 7119, 7071, 6784)

#: The neutral head looks up by this much (degrees) against that of 300W-LP and AFLW2000-3D, by the same comparison.
NEUTRAL_PITCH = 2.6

IDENTITIES = 40  # the offsets after these are below 0.02 cm
NOISE = 0.25  # σ of a point, in cm on the head
HUBER = 1.5  # residuals beyond this many σ count linearly
EXPRESSION_PRIOR = 0.3  # σ of an expression's coefficient; the model's identity coefficients have σ 1
ALONG_OUTLINE = 0.1  # weight of the distance along the outline
STEPS = 12


@dataclass(frozen=True)
class FaceModel:
    """The model at 85 points: 17 of the outline seen from the front, 51 inner ones, 17 of the jaw line."""

    mean: np.ndarray  # (85, 3) cm; x to the right of a viewer of the face, y up, z towards the viewer
    basis: np.ndarray  # (K, 85, 3) offsets
    prior: np.ndarray  # (K,) σ of their coefficients

    @classmethod
    def load(cls, path: Path) -> FaceModel:
        """Reads `ict_facekit.npz`. Raises `InputError` with the file and what is missing."""
        try:
            with np.load(path) as data:
                points = np.concatenate([data["landmarks68"], JAW])
                identity, expression = (data[k][:, points].astype(np.float64) for k in ("identity", "expression"))
                mean = data["neutral"][points].astype(np.float64)
        except NOT_ARRAYS as error:
            raise InputError(f"{path}: not the face model that the pose fit needs: {error}") from error
        identity = identity[:IDENTITIES]
        prior = np.concatenate([np.ones(len(identity)), np.full(len(expression), EXPRESSION_PRIOR)])
        return cls(mean, np.concatenate([identity, expression]), prior)


@dataclass(frozen=True)
class Fit:
    """The model fitted to N faces."""

    pose: np.ndarray  # (N, 3) yaw, pitch, roll in degrees; NaN where no fit was found
    points: np.ndarray  # (N, 68, 2) image pixels of the model's points with its jaw line
    error: np.ndarray  # (N,) median distance between inner points and fit, in cm on the head
    scale: np.ndarray  # (N,) pixels a cm
    shift: np.ndarray  # (N, 2) image pixels of the model's origin
    rotation: np.ndarray  # (N, 3, 3) of the model's vertices, to x right, y up, z towards the viewer
    coefficients: np.ndarray  # (N, K) of the offsets: identity, then expression


def fit_pose(points: ArrayLike, model: FaceModel, solid: bool = False, block: int = 128) -> Fit:
    """(N, 68, 2) image pixels, y down → Fit. ``solid``: points 0–16 lie on the jaw line, not on the visible outline."""
    given = np.asarray(points, np.float64)
    if given.ndim != 3 or given.shape[1:] != (68, 2):
        raise ValueError(f"points must have shape (N, 68, 2), not {given.shape}")
    parts = [_fit_block(given[i : i + block], model, solid) for i in range(0, len(given), block)]
    if not parts:
        shapes = (3,), (68, 2), (), (), (2,), (3, 3), (len(model.basis),)
        return Fit(*(np.empty((0, *shape)) for shape in shapes))
    return Fit(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Fit)))


def _fit_block(seen: np.ndarray, model: FaceModel, solid: bool) -> Fit:
    count, offsets = len(seen), len(model.basis)
    rotation, scale, shift = _affine_start(seen[:, 17:], model.mean[17:68])
    coefficients = np.zeros((count, offsets))
    across = _outline_frame(seen[:, :17])
    prior = np.zeros(6 + offsets)
    prior[6:] = model.prior**-2
    moves = model.basis.reshape(-1, 3).T
    for _ in range(STEPS):
        shape = (model.mean.ravel() + coefficients @ model.basis.reshape(offsets, -1)).reshape(count, -1, 3)
        turned = shape @ rotation.transpose(0, 2, 1)  # (N, 85, 3), camera's frame
        moved = (rotation[:, :2] @ moves * [[1], [-1]]).reshape(count, 2, offsets, -1).transpose(0, 2, 3, 1)
        if solid:
            turned, moved = _outline(turned, 0), _outline(moved, 0)
        else:
            wanted = (seen[:, :17] - shift[:, None]) / scale[:, None, None]
            share = _share(turned[..., :2] * (1, -1), wanted)
            turned, moved = _outline(turned, share), _outline(moved, share[:, None])
        flat = turned[..., :2] * (1, -1)
        left = (seen - shift[:, None]) / scale[:, None, None] - flat  # residuals, cm
        slope = np.empty((count, 6 + offsets, 68, 2))
        slope[:, :3] = _turning(turned)
        slope[:, 3:5] = np.eye(2)[:, None]
        slope[:, 5] = flat
        slope[:, 6:] = moved
        if not solid:
            left[:, :17] = (across @ left[:, :17, :, None])[..., 0]
            slope[:, :, :17] = np.einsum("npij,nkpj->nkpi", across, slope[:, :, :17])
        far = np.linalg.norm(left, axis=2) / NOISE
        weight = np.minimum(1, HUBER / np.maximum(far, 1e-9)) / NOISE**2
        rows = slope.reshape(count, 6 + offsets, 136)
        weighted = rows * np.repeat(weight, 2, 1)[:, None]
        normal = weighted @ rows.transpose(0, 2, 1)
        normal[:, range(6 + offsets), range(6 + offsets)] += prior + 1e-9
        pull = (weighted @ left.reshape(count, 136, 1))[..., 0]
        pull[:, 6:] -= prior[6:] * coefficients
        step = np.linalg.solve(normal, pull[..., None])[..., 0]
        rotation = _rotation(np.clip(step[:, :3], -0.5, 0.5)) @ rotation
        shift = shift + scale[:, None] * step[:, 3:5]
        scale = scale * np.exp(np.clip(step[:, 5], -0.5, 0.5))
        coefficients = coefficients + step[:, 6:]
    shape = (model.mean.ravel() + coefficients @ model.basis.reshape(offsets, -1)).reshape(count, -1, 3)
    flat = (shape @ rotation.transpose(0, 2, 1))[..., :2] * (1, -1) * scale[:, None, None] + shift[:, None]
    error = np.median(np.linalg.norm(seen[:, 17:] - flat[:, 17:68], axis=2), 1) / scale
    matrix = euler_to_matrix(0, NEUTRAL_PITCH, 0) @ rotation.transpose(0, 2, 1)
    pose = np.stack(matrix_to_euler(matrix), 1)
    pose[~(np.isfinite(error) & (scale > 0))] = np.nan
    points = np.concatenate([flat[:, 68:], flat[:, 17:68]], 1)
    return Fit(pose, points, error, scale, shift, rotation, coefficients)


def _affine_start(seen: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotation (N, 3, 3), scale (N,), shift (N, 2) of the mean shape (P, 3): linear least squares, made orthogonal."""
    homogeneous = np.concatenate([mean, np.ones((len(mean), 1))], 1)
    affine = np.linalg.pinv(homogeneous) @ seen  # (N, 4, 2)
    rows = affine[:, :3].transpose(0, 2, 1) * np.array([[1.0], [-1.0]])  # image y down → camera y up
    u, size, vt = np.linalg.svd(rows, full_matrices=False)
    two = u @ vt
    rotation = np.concatenate([two, np.cross(two[:, 0], two[:, 1])[:, None]], 1)
    scale = size.mean(1)
    flat = (mean @ rotation.transpose(0, 2, 1))[..., :2] * (1, -1)
    return rotation, scale, (seen - scale[:, None, None] * flat).mean(1)


def _outline_frame(outline: np.ndarray) -> np.ndarray:
    """(N, 17, 2) → (N, 17, 2, 2): turns a residual to (across, √weight · along) the outline."""
    along = np.gradient(outline, axis=1)
    along /= np.maximum(np.linalg.norm(along, axis=2, keepdims=True), 1e-9)
    across = np.stack([-along[..., 1], along[..., 0]], -1)
    return np.stack([across, along * np.sqrt(ALONG_OUTLINE)], -2)


def _outline(points: np.ndarray, share: np.ndarray | int) -> np.ndarray:
    """(…, 85, d) → (…, 68, d): outline points at ``share`` (…, 17, 1) of the way from the jaw to the front."""
    front, inner, jaw = points[..., :17, :], points[..., 17:68, :], points[..., 68:, :]
    return np.concatenate([jaw + share * (front - jaw), inner], -2)


def _share(flat: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(N, 85, 2), (N, 17, 2) → (N, 17, 1): where between jaw (0) and front (1) the visible outline lies."""
    way = flat[:, :17] - flat[:, 68:]
    along = ((seen - flat[:, 68:]) * way).sum(2, keepdims=True)
    return np.asarray(np.clip(along / np.maximum((way**2).sum(2, keepdims=True), 1e-9), 0, 1))


def _turning(turned: np.ndarray) -> np.ndarray:
    """(N, P, 3) → (N, 3, P, 2): how points move in the image (y down) per radian about the camera's x, y and z."""
    x, y, z = np.moveaxis(turned, -1, 0)
    o = np.zeros_like(x)
    return np.stack([np.stack([o, z], -1), np.stack([z, o], -1), np.stack([-y, -x], -1)], 1)


def _rotation(vector: np.ndarray) -> np.ndarray:
    """Rotation vectors (N, 3), radians → (N, 3, 3) (Rodrigues)."""
    angle = np.linalg.norm(vector, axis=1)[:, None, None]
    x, y, z = (vector / np.maximum(angle[:, 0], 1e-12)).T
    o = np.zeros_like(x)
    cross = np.stack([o, -z, y, z, o, -x, -y, x, o], 1).reshape(-1, 3, 3)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
