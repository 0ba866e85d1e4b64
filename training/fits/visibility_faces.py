"""Faces with a flag for each point (in sight, covered, turned away), and what a model says of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS, mirrored_points
from acdc_fast.model import Model
from acdc_fast.readout.mirror_image import POSE_SIGNS
from acdc_fast.readout.visibility import terms
from acdc_fast.types import Faces
from acdc_fast.weights import Weights

from ..data import Database
from ..data.aflw68 import COVERED_FLAG, VISIBLE_FLAG
from ..data.sample import Annotation
from .photographs import photographs

MARKUP = "2d68"
#: Flag of a point that is hidden by an unknown cause.
HIDDEN = -1


@dataclass(frozen=True)
class Flagged:
    """N faces: the terms of each, and a flag for each of its points."""

    terms: np.ndarray  # (N, T) of `readout.visibility.terms`
    mirrored: np.ndarray  # (N, T) of their mirror images
    flags: np.ndarray  # (N, L) of `aflw68`, or `HIDDEN`


def draw_cover(rgb: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 picture with an ellipse or a rectangle drawn on the face, and its mask (H, W) bool.

    The cover is of one colour, noise, or another part of the picture.
    """
    size = box[2:] - box[:2]
    middle, half = box[:2] + size * rng.uniform(0.1, 1.0, 2), size * rng.uniform(0.12, 0.4, 2)
    drawn = Image.new("1", rgb.shape[1::-1])
    pen = ImageDraw.Draw(drawn)
    (pen.ellipse if rng.random() < 0.5 else pen.rectangle)([*(middle - half), *(middle + half)], fill=1)
    mask, kind = np.asarray(drawn), rng.integers(3)
    if kind == 0:
        cover = np.broadcast_to(rng.integers(0, 256, 3), rgb.shape)
    elif kind == 1:
        cover = rng.integers(0, 256, rgb.shape)
    else:
        cover = np.roll(rgb, rng.integers(rgb.shape[0] // 4, 3 * rgb.shape[0] // 4 + 1, 2), (0, 1))
    return np.where(mask[..., None], cover, rgb).astype(np.uint8), mask


def observe(model: Model, database: Database, limit: int | None = None, covers: bool = False) -> Flagged:
    """What the model says of at most ``limit`` flagged faces, by their boxes. ``covers``: each has a cover drawn on it,
    and the points under it count as covered."""
    both_terms, flags = [], []
    for batch in photographs(database, limit):
        pictures = [p.rgb for p in batch]
        masks: list[np.ndarray] = [np.zeros(rgb.shape[:2], bool) for rgb in pictures]
        if covers:
            drawn = [draw_cover(p.rgb, p.box, np.random.default_rng(p.index)) for p in batch]
            pictures, masks = [rgb for rgb, _ in drawn], [mask for _, mask in drawn]
        aligned = model.align(pictures, boxes=[p.box[None] for p in batch])
        both_terms += [terms_both_ways(faces, model.weights) for faces in aligned]
        flags += [_flags(p.face, mask) for p, mask in zip(batch, masks, strict=True)]
    plain, mirrored = (np.concatenate(values) for values in zip(*both_terms, strict=True))
    return Flagged(plain, mirrored, np.array(flags))


def _flags(face: Annotation, mask: np.ndarray) -> np.ndarray:
    """(L,) flags: those of the labels, but `COVERED_FLAG` for points in sight that lie under the mask (H, W).
    Raises `InputError` where the labels have none."""
    visible, flags = (face.attributes.get(f"{kind}-{MARKUP}") for kind in ("visible", "flags"))
    if visible is not None:
        flags = np.where(visible, VISIBLE_FLAG, HIDDEN)
    if flags is None:
        raise InputError(f"{face.source}: its labels do not say which points are in sight; name rendered faces")
    pixels = np.nan_to_num(face.landmarks[MARKUP], nan=-1).round().astype(int)
    x, y = pixels[:, 0], pixels[:, 1]
    inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
    under = inside & mask[y * inside, x * inside]
    return np.where(under & (flags == VISIBLE_FLAG), COVERED_FLAG, flags)


def terms_both_ways(faces: Faces, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """(N, T) terms of faces and of their mirror images."""
    assert faces.pose is not None and weights.refinement is not None
    pose, order = np.column_stack([faces.pose.yaw, faces.pose.pitch, faces.pose.roll]), weights.config.order
    points, spread = (np.concatenate([values[m] for m in order], 1) for values in (faces.landmarks, faces.spread))
    mirrored = np.concatenate([mirrored_points(faces.landmarks[m], m) for m in order], 1)
    widths = np.concatenate([faces.spread[m][:, MARKUPS[m].mirror] for m in order], 1)
    return (
        terms(points, spread, pose, weights.refinement),
        terms(mirrored, widths, pose * POSE_SIGNS, weights.refinement),
    )
