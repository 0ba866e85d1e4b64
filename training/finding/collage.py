"""Training pictures of our own detector: faces of all sizes and angles, pasted over backgrounds, and their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

#: Sides √(w·h) of the pasted faces, pixels. The loss leaves smaller faces out.
SMALLEST, LARGEST = 9.0, 150.0
#: A face that the border cuts or something covers counts only if this share of it can be seen.
SEEN = 0.55


@dataclass(frozen=True)
class Crop:
    """A grey picture (H, W) uint8, boxes (N, 4) of its faces, and which count; the loss leaves the others out."""

    image: np.ndarray
    boxes: np.ndarray
    counts: np.ndarray  # (N,) bool; the first is the labelled face


@dataclass
class Canvas:
    image: np.ndarray  # (S, S), 0 … 255: float32 while faces are pasted, then uint8 (`photographed`)
    boxes: list[np.ndarray]
    counts: list[bool]


def collage(faces: Sequence[Crop], backgrounds: Sequence[np.ndarray], side: int, rng: np.random.Generator) -> Canvas:
    """A square picture of ``side`` pixels over a random background, uint8 in the end. One in four has no face. The
    others have up to 11 pasted faces for each 160 pixels of ``side``."""
    canvas = Canvas(background(backgrounds, side, rng), [], [])
    free = np.ones((side, side), bool)
    for _ in range(rng.integers(0, 4)):  # edges of pasted parts alone must not look like a face
        _paste_texture(canvas, backgrounds, rng)
    small = rng.random() < 0.5
    count = 0 if rng.random() < 0.25 else int(rng.integers(2, 12)) if small else int(rng.integers(1, 4))
    count = round(count * side / 160)
    top = 45.0 if small else LARGEST
    for _ in range(count):
        size = float(np.exp(rng.uniform(np.log(SMALLEST), np.log(top))))
        _paste_face(canvas, free, faces[int(rng.integers(len(faces)))], size, rng)
    canvas.image = photographed(canvas.image, rng)
    return canvas


def background(pictures: Sequence[np.ndarray], side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side) float32: part of a picture without people, a gradient, or a gradient with noise."""
    kind = rng.random()
    if kind < 0.7 and len(pictures):
        picture = _one_of(pictures, rng)
        cut = int(min(*picture.shape, np.exp(rng.uniform(np.log(0.5 * side), np.log(6 * side)))))
        y, x = (int(rng.integers(0, n - cut + 1)) for n in picture.shape)
        part = cv2.resize(picture[y : y + cut, x : x + cut], (side, side), interpolation=cv2.INTER_AREA)
        part = np.rot90(part, int(rng.integers(4))) if rng.random() < 0.5 else part
        return np.ascontiguousarray(part, np.float32)
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    image = rng.uniform(0, 255) + rng.normal(0, 60) * ramp[:, None] + rng.normal(0, 60) * ramp
    if kind < 0.9:
        coarse = rng.normal(0, rng.uniform(5, 60), [int(rng.integers(2, side))] * 2).astype(np.float32)
        image = image + cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.clip(image, 0, 255).astype(np.float32)


def _one_of(pictures: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """One of the pictures: the larger of two that are drawn at random, so that large ones come more often."""
    two = [pictures[int(i)] for i in rng.integers(len(pictures), size=2)]
    return max(two, key=lambda picture: picture.size)


def _paste_texture(canvas: Canvas, pictures: Sequence[np.ndarray], rng: np.random.Generator) -> None:
    side = int(rng.integers(8, canvas.image.shape[0] // 2))
    part = background(pictures, side, rng)
    y, x = rng.integers(0, canvas.image.shape[0] - side, 2)
    canvas.image[y : y + side, x : x + side] = part


def _paste_face(canvas: Canvas, free: np.ndarray, crop: Crop, size: float, rng: np.random.Generator) -> None:
    """Pastes the crop so that its first face has about ``size`` pixels, mirrored, stretched and turned at random.

    Up to eight places are tried. The part that is pasted must not touch a pixel that is not ``free``; if none fits,
    nothing is pasted. ``canvas`` gets the boxes of all faces that are seen there, and ``free`` loses their pixels.
    """
    side = canvas.image.shape[0]
    image, boxes = crop.image, crop.boxes.astype(np.float64)
    if rng.random() < 0.5:
        image, boxes = image[:, ::-1], boxes * (-1, 1, -1, 1) + (image.shape[1], 0, image.shape[1], 0)
        boxes = boxes[:, [2, 1, 0, 3]]
    scale = size / np.sqrt((boxes[0, 2] - boxes[0, 0]) * (boxes[0, 3] - boxes[0, 1]))
    if scale < 0.6:  # INTER_AREA averages pixels; warpAffine below would skip some
        shrunk = max(2 * scale, 0.25)
        wanted = max(4, round(image.shape[1] * shrunk)), max(4, round(image.shape[0] * shrunk))
        factor = np.array([wanted[0] / image.shape[1], wanted[1] / image.shape[0]] * 2)
        image = cv2.resize(image, wanted, interpolation=cv2.INTER_AREA)
        boxes, scale = boxes * factor, scale / float(np.sqrt(factor[0] * factor[1]))
    angle = _angle(rng)
    w, h = boxes[0, 2:] - boxes[0, :2]
    centre = (boxes[0, :2] + boxes[0, 2:]) / 2
    stretch = np.exp(rng.normal(0, 0.03))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn * scale * np.array([[stretch, 1 / stretch]])
    for _ in range(8):
        margin = size * (0.3 if rng.random() < 0.15 else -0.5)
        low, high = -margin, side + margin  # a positive margin: the centre may lie outside of the picture
        place = rng.uniform(low, high, 2) if high > low else np.full(2, side / 2)
        # Some of what surrounds the face is pasted with it.
        reach = np.exp(rng.uniform(np.log(0.55), np.log(3), 4)) * np.array([w, h, w, h])
        left, upper = (max(0, int(v)) for v in np.floor(centre - reach[:2]))
        right, lower = (int(v) for v in np.ceil(centre + reach[2:]))
        part = np.ascontiguousarray(image[upper:lower, left:right])
        shift = place - matrix @ (centre - (left, upper))
        corners = np.array([[0, 0], [part.shape[1], 0], [part.shape[1], part.shape[0]], [0, part.shape[0]]])
        corners = corners @ matrix.T + shift
        (x0, y0), (x1, y1) = (np.clip(v, 0, side).astype(int) for v in (corners.min(0), np.ceil(corners.max(0))))
        if x1 - x0 < 2 or y1 - y0 < 2:
            continue
        covered = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillConvexPoly(covered, np.round(corners - (x0, y0)).astype(np.int32), 1)
        inside = covered.astype(bool)
        if inside.any() and not (inside & ~free[y0:y1, x0:x1]).any():
            break
    else:
        return
    affine = np.concatenate([matrix, (shift - (x0, y0))[:, None]], 1)
    wanted = int(x1 - x0), int(y1 - y0)
    warped = cv2.warpAffine(part, affine, wanted, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    warped = warped.astype(np.float32)
    if rng.random() < 0.3:
        warped = np.clip((warped - 128) * rng.uniform(0.5, 1.4) + 128 + rng.normal(0, 25), 0, 255)
    canvas.image[y0:y1, x0:x1][inside] = warped[inside]
    mask = np.zeros((side, side), bool)
    mask[y0:y1, x0:x1] = inside
    before = len(canvas.boxes)
    for box, counts in zip(boxes, crop.counts, strict=True):
        middle = matrix @ ((box[:2] + box[2:]) / 2 - (left, upper)) + shift
        across, down = (box[2:] - box[:2]) * scale * (stretch, 1 / stretch)
        half = _half_sides(across, down, angle)
        new = np.concatenate([middle - half, middle + half])
        seen = _seen(new, mask)
        if seen > 0.2:
            canvas.boxes.append(new)
            canvas.counts.append(bool(counts and seen > SEEN and np.sqrt(across * down) >= SMALLEST - 1))
            _cover(canvas, new, rng)
    for box in canvas.boxes[before:]:
        x0, y0, x1, y1 = np.clip(np.round(box), 0, side).astype(int)
        free[y0:y1, x0:x1] = False
    free[mask] &= rng.random() < 0.5  # other faces may cover these surroundings, half of the time


def _angle(rng: np.random.Generator) -> float:
    kind = rng.random()
    if kind < 0.72:
        return float(np.deg2rad(rng.normal(0, 12)))
    if kind < 0.87:
        return float(np.deg2rad(rng.uniform(-60, 60)))
    return float(np.deg2rad(rng.choice([90, 180, 270]) + rng.normal(0, 15)))


def _half_sides(w: float, h: float, angle: float) -> np.ndarray:
    """Half the sides of the upright box of a turned face. Unlike a hull, it hardly grows with the angle."""
    c, s = np.cos(angle) ** 2, np.sin(angle) ** 2
    return np.sqrt([w * w * c + h * h * s, w * w * s + h * h * c]) / 2


def _seen(box: np.ndarray, mask: np.ndarray) -> float:
    x0, y0, x1, y1 = np.round(box).astype(int)
    area = max(1, (x1 - x0) * (y1 - y0))
    return float(mask[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)].sum() / area)


def _cover(canvas: Canvas, box: np.ndarray, rng: np.random.Generator) -> None:
    """Hides part of some faces (8 %) behind a grey rectangle."""
    if rng.random() > 0.08:
        return
    w, h = (box[2:] - box[:2]) * rng.uniform(0.2, 0.5, 2)
    x, y = box[:2] + rng.random(2) * (box[2:] - box[:2] - (w, h))
    x0, y0, x1, y1 = np.clip(np.round([x, y, x + w, y + h]), 0, canvas.image.shape[0]).astype(int)
    canvas.image[y0:y1, x0:x1] = rng.uniform(0, 255)


def photographed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W) float32 → uint8, with random light, blur, noise and JPEG compression."""
    if rng.random() < 0.6:
        image = 255 * np.clip(image / 255, 0, 1) ** np.exp(rng.normal(0, 0.35))
        image = (image - 128) * np.exp(rng.normal(0, 0.25)) + 128 + rng.normal(0, 18)
    if rng.random() < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2))
    if rng.random() < 0.3:
        image = image + rng.normal(0, rng.uniform(1, 12), image.shape)
    grey = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        _, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))
    return np.asarray(grey)
