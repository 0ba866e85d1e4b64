"""Skin of real faces for rendered people: the picture of a face, moved into the texture layout by a fitted model.

The fit misses the 68 points by a little. The picture is therefore read at shifted places, so that lips, lids and brows
lie where the layout has them. A hidden half is the mirror image of the other; the rest is filled in smoothly. Broad
light and shade are mostly divided out, because the renderer adds its own.
"""

from __future__ import annotations

import cv2
import numpy as np

from acdc_fast import _native

from .markup import BROW_LOWER, BROW_UPPER, surface_points
from .repose import Fitted, Reposer
from .texture import SIZE

_REACH = 0.03  # of one point's shift, in units of the layout
_FLATTENED = 0.75  # share of the broad light to divide out


def take_skin(reposer: Reposer, image: np.ndarray, fit: Fitted, seen: np.ndarray, tone: float) -> np.ndarray:
    """(SIZE, SIZE) float32 reflectance with median ``tone``, from a picture (H, W) with its 68 points ``seen``."""
    model = reposer.model
    flat = fit.project(fit.rotation, fit.vertices).astype(np.float32)
    empty = np.zeros((len(flat), 0), np.float32)
    height, width = image.shape
    _, depth, _ = _native.rasterize(flat, model.triangles, empty, height, width, True)
    facing = _native.vertex_normals((fit.vertices @ fit.rotation.T).astype(np.float32), model.triangles)[:, 2:]
    layout = np.column_stack([model.uv * SIZE - 0.5, np.zeros(len(flat))]).astype(np.float32)
    owner, _, at = _native.rasterize(layout, model.face_triangles, np.column_stack([flat, facing]), SIZE, SIZE, False)
    x, y, z, toward = np.moveaxis(at, -1, 0)
    nearest = cv2.remap(depth, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=float(np.inf))
    shift = _missed(reposer, flat, seen)
    x, y = x + shift[..., 0], y + shift[..., 1]
    inside = cv2.remap(_face_mask(image.shape, seen), x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    known = (owner >= 0) & (toward > 0.3) & (z > nearest - 0.6) & (inside > 0)
    grey = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    light = (grey.astype(np.float32) / 255) ** 2.2 + 0.004
    light, known = np.where(known, light, light[:, ::-1]), known | known[:, ::-1]
    broad = _spread(light, known, 25.0)
    share = cv2.erode(known.astype(np.float32), np.ones((17, 17)))
    share = cv2.GaussianBlur(share, (0, 0), 5)  # no seam between seen and filled-in parts
    light = share * light + (1 - share) * broad
    flattened = light / broad**_FLATTENED
    return np.asarray(np.clip(flattened * (tone / np.median(flattened[known])), 0.005, 1), np.float32)


def _face_mask(shape: tuple[int, ...], seen: np.ndarray) -> np.ndarray:
    """(H, W) 1 inside the hull of the 68 points, without its rim. Above the brows it is raised by a quarter face."""
    up = (seen[17:27].mean(0) - seen[8]) * 0.25
    hull = cv2.convexHull(np.concatenate([seen, seen[17:27] + up]).astype(np.float32))
    mask = cv2.fillConvexPoly(np.zeros(shape, np.uint8), np.rint(hull).astype(np.int32), 1)
    return np.asarray(cv2.erode(mask, np.ones((5, 5))))


def _missed(reposer: Reposer, flat: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(SIZE, SIZE, 2) pixels: where the given points say a place is, minus where the fit puts it."""
    places = surface_points((BROW_UPPER, BROW_LOWER))["2d68"]
    corners, weights = reposer.points.fixed["2d68"]
    error = seen[17:] - (flat[corners] * weights[..., None]).sum(1)[:, :2]
    coarse = 64
    axis = (np.arange(coarse) + 0.5) / coarse
    u, v = np.meshgrid(axis, axis)
    near = np.exp(-((u[..., None] - places[:, 0]) ** 2 + (v[..., None] - places[:, 1]) ** 2) / (2 * _REACH**2))
    shift = (near @ error) / (near.sum(-1, keepdims=True) + 0.2)
    return np.asarray(cv2.resize(shift.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR))


def _spread(values: np.ndarray, known: np.ndarray, sigma: float) -> np.ndarray:
    """Mean of the known values near each place, also where the value itself is unknown."""
    small = (SIZE // 4, SIZE // 4)
    weight = cv2.resize(known.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    total = cv2.resize((values * known).astype(np.float32), small, interpolation=cv2.INTER_AREA)
    mean = float(total.sum() / max(weight.sum(), 1e-6))
    near = cv2.GaussianBlur(total, (0, 0), sigma / 4) + 1e-3 * mean
    return np.asarray(cv2.resize(near / (cv2.GaussianBlur(weight, (0, 0), sigma / 4) + 1e-3), (SIZE, SIZE)))
