"""Face → square grey crop with its labels, plain or augmented. Every random choice comes from the given generator.

Geometry (crop square, rotation, scale, shift, mirror) is one affine warp of the picture; the labels move exactly with
it. Photometry (occluder, blur, low resolution, brightness, contrast, gamma, noise, JPEG) changes the crop's values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from acdc_fast.markups import MARKUPS, mirrored_points
from acdc_fast.photo.coordinates import (
    crop_pixels_to_image_matrix,
    image_to_crop,
    square_from_box,
    square_from_points,
    turned_pose,
)

from ..data.sample import Annotation, Sample
from ..settings import Augmentation

#: Boxes that other people bring: so many times the detector's side, and their centre up to so many sides from its own.
LOOSE_SIDES, LOOSE_SHIFT = (0.6, 2.0), 0.3
#: Degrees that a face may be turned by which the network is not to read.
TURNS = (90.0, 180.0, 270.0)
#: A crop beside the face has its centre so many sides from the face's, in any direction.
ASIDE = (1.0, 1.6)


@dataclass(frozen=True, eq=False)
class Crop:
    """The network's input for one face, and the labels in it."""

    image: np.ndarray  # (1, S, S) uint8
    landmarks: Mapping[str, np.ndarray]  # markup -> (L, 2) float32 crop units
    weights: Mapping[str, np.ndarray]  # markup -> (L,) float32, 0 for points unknown or outside the crop
    pose: np.ndarray | None  # (3,) float32 yaw, pitch, roll in degrees, as seen in the crop
    square: np.ndarray  # (4,) centre, side, angle in pixels of the picture, before the mirror
    mirrored: bool = False
    #: There is no upright face: it is turned by quarters, or lies beside the crop. No label is used (weights 0, pose
    #: NaN); `losses.wide_loss` alone learns from such a crop.
    wide: bool = False


def face_square(face: Annotation) -> np.ndarray:
    """(4,) upright crop square: from the detector's box if there is one, else from where the points put that box."""
    if face.box is not None:
        return np.asarray(square_from_box(face.box[None])[0])
    return np.asarray(square_from_points(face.five[None])[0])


def warp(
    image: np.ndarray, square: np.ndarray, size: int, border: int = cv2.BORDER_REPLICATE, fill: int = 0
) -> np.ndarray:
    """(H, W) uint8 → (size, size) uint8 of the square. If it shrinks, each crop pixel is the mean over its area."""
    ratio = float(square[2]) / size
    step = max(1, round(ratio))
    if step > 4:  # a big face: average whole blocks first, then warp from the smaller picture
        block = step // 2
        image, square = _shrink(image, square, block)
        step = max(1, round(float(square[2]) / size))
    matrix = crop_pixels_to_image_matrix(square[None], size * step)[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(image, matrix, (size * step, size * step), flags=flags, borderMode=border, borderValue=fill)
    return np.asarray(fine if step == 1 else cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA))


def _shrink(image: np.ndarray, square: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the picture around the square, shrunk to 1/block, and the square in it."""
    cx, cy, side = (float(v) for v in square[:3])
    reach = 0.75 * side + block
    h, w = image.shape
    x0, y0 = (min(max(0, int(c - reach)), n - 1) for c, n in ((cx, w), (cy, h)))
    nx, ny = (max(1, min(n - o, int(2 * reach)) // block) for o, n in ((x0, w), (y0, h)))
    part = image[y0 : y0 + ny * block, x0 : x0 + nx * block]
    small = cv2.resize(part, (nx, ny), interpolation=cv2.INTER_AREA)
    centre = [(cx - x0 + 0.5) * nx / part.shape[1] - 0.5, (cy - y0 + 0.5) * ny / part.shape[0] - 0.5]
    return small, np.array([*centre, side / block, float(square[3])])


def crop_face(
    sample: Sample, size: int, rng: np.random.Generator | None = None, how: Augmentation | None = None
) -> Crop:
    """One face as the network sees it, augmented if a generator is given."""
    if size < 8:
        raise ValueError(f"a crop of {size} pixels is too small")
    square, mirrored, wide, border, fill = face_square(sample), False, False, cv2.BORDER_REPLICATE, 0
    if rng is not None:
        how = how or Augmentation()
        rotation, grow, right, down = rng.normal(size=4) * (how.rotation, how.scale, how.shift, how.shift)
        square[:2] += square[2] * np.array([right, down])
        square[2] *= np.exp(grow)
        square[3] += rotation
        if how.loose and rng.random() < how.loose:
            square[:2] += square[2] * rng.uniform(-LOOSE_SHIFT, LOOSE_SHIFT, 2)
            square[2] *= np.exp(rng.uniform(*np.log(LOOSE_SIDES)))
        if how.turned and rng.random() < how.turned:
            square[3] += rng.choice(TURNS)
            wide = True
        elif how.aside and rng.random() < how.aside:
            way = rng.uniform(0, 2 * np.pi)
            square[:2] += square[2] * rng.uniform(*ASIDE) * np.array([np.cos(way), np.sin(way)])
            wide = True
        mirrored = bool(rng.random() < how.mirror)
        if rng.random() < 0.5:  # outside the picture: its border goes on, or one grey
            border, fill = cv2.BORDER_CONSTANT, int(rng.integers(256))
    picture, corner = sample.image, np.zeros(2)
    if rng is not None and how is not None and rng.random() < how.cut:
        picture, corner = cut_close(picture, square, rng)
    image = warp(picture, np.concatenate([square[:2] - corner, square[2:]]), size, border, fill)
    landmarks = {m: image_to_crop(p[None], square[None])[0] for m, p in sample.landmarks.items()}
    weights = {m: np.array(sample.weights.get(m, np.ones(len(p))), np.float32) for m, p in landmarks.items()}
    pose = None if sample.pose is None else turned_pose(sample.pose, -float(square[3])).astype(np.float32)
    if mirrored:
        image = image[:, ::-1]
        landmarks = {m: mirrored_points(p, m) for m, p in landmarks.items()}
        weights = {m: w[MARKUPS[m].mirror] for m, w in weights.items()}
        pose = None if pose is None else pose * np.array([-1, 1, -1], np.float32)
    for markup, points in landmarks.items():
        weights[markup] *= ((points > 0) & (points < 1)).all(1) & (not wide)
    if wide and pose is not None:
        pose = np.full(3, np.nan, np.float32)
    if rng is not None and how is not None:
        image = photometry(image, rng, how)
    return Crop(
        np.ascontiguousarray(image)[None],
        {m: p.astype(np.float32) for m, p in landmarks.items()},
        weights,
        pose,
        square,
        mirrored,
        wide,
    )


def cut_close(image: np.ndarray, square: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A part of the picture: each edge lies up to 0.2 of the square's side inside the square or up to 0.1 outside.
    Also the (2,) x, y of its corner."""
    (x, y, side), (h, w) = square[:3], image.shape
    left, top, right, bottom = (0.5 - rng.uniform(-0.1, 0.2, 4)) * side  # of the centre
    x0, y0 = (int(np.clip(v, 0, n - 8)) for v, n in ((x - left, w), (y - top, h)))
    x1, y1 = (int(np.clip(v, o + 8, n)) for v, o, n in ((x + right, x0, w), (y + bottom, y0, h)))
    return image[y0:y1, x0:x1], np.array([x0, y0], np.float64)


def photometry(image: np.ndarray, rng: np.random.Generator, how: Augmentation) -> np.ndarray:
    """(S, S) uint8 → (S, S) uint8: all changes of grey values; no point moves."""
    size = len(image)
    if rng.random() < how.occluder:
        image = occlude(image, rng)
    if rng.random() < how.blur:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2) * size / 64)
    if rng.random() < how.low_resolution:
        small = max(8, round(size * rng.uniform(0.3, 0.8)))
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    add, times, power = rng.normal(size=3) * (how.brightness, how.contrast, how.gamma)
    levels = np.linspace(0, 1, 256) ** np.exp(power)
    levels = (levels - 0.5) * np.exp(times) + 0.5 + add
    image = np.clip(levels * 255 + 0.5, 0, 255).astype(np.uint8)[image]
    if rng.random() < how.noise:
        noisy = image + rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(1, 10))
        image = np.clip(noisy + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < how.jpeg:
        quality = int(rng.integers(25, 90))
        coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE))
    return image


def occlude(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Covers part of the crop, up to half its side: an ellipse or rotated rectangle, grey, noise or other pixels."""
    size = len(image)
    centre, axes = rng.uniform(0.05, 0.95, 2) * size, rng.uniform(0.08, 0.5, 2) * size
    mask = np.zeros_like(image)
    turned = ((float(centre[0]), float(centre[1])), (float(axes[0]), float(axes[1])), float(rng.uniform(0, 180)))
    if rng.random() < 0.5:
        cv2.ellipse(mask, turned, 255, -1)
    else:
        cv2.fillConvexPoly(mask, np.round(cv2.boxPoints(turned)).astype(np.int32), 255)
    kind = rng.integers(3)
    if kind == 0:
        cover = np.full_like(image, rng.integers(256))
    elif kind == 1:
        cover = rng.integers(0, 256, image.shape, np.uint8)
    else:
        cover = np.roll(image, rng.integers(size // 4, 3 * size // 4 + 1, 2), (0, 1))
    return np.where(mask > 0, cover, image)
