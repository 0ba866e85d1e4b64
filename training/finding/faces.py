"""Pictures of faces for the detector's training, with boxes as the library draws them.

The library searches each picture at several scales (`taught`); one file for each database keeps the result. The box of
a labelled face is the mean of the library's boxes that fit its points. If none fits, the box is made from the points.
Other boxes with a high score are faces too. The loss leaves boxes with a middling score out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from acdc_fast.photo.coordinates import box_from_points
from acdc_fast.photo.detection import overlap
from acdc_fast.photo.libfacedetection import find

from ..data import Database, open_database
from .collage import Crop

#: Database, split, and how often each of its faces is used: colour databases have few faces.
DATABASES = (("mtfl", "train", 1), ("frames68", "all", 1), ("aflw68", "train", 3), ("aflw68", "five", 3))
#: Scales at which the library searches, and the added border as a share of the longest side.
LOOKS, BORDER = (1.0, 0.75), 0.18
#: Scores from which a box that is not the labelled face's is surely a face, or perhaps one.
SURE, PERHAPS = 0.8, 0.35
#: A library's box with more than this overlap with the box made from the points is the labelled face's.
SAME = 0.45


def taught(grey: np.ndarray) -> np.ndarray:
    """(H, W) uint8 → (N, 6) float32: the library's boxes x0, y0, x1, y1 in pixels, score, and index of the scale."""
    picture, found = Image.fromarray(grey).convert("RGB"), []
    for number, scale in enumerate(LOOKS):
        size = round(picture.width * scale), round(picture.height * scale)
        edge = round(BORDER * max(size))
        boxes = find(ImageOps.expand(picture.resize(size, Image.Resampling.BILINEAR), edge))
        boxes[:, :4] = (boxes[:, :4] - edge) * np.tile(np.divide(picture.size, size), 2)
        found.append(np.concatenate([boxes, np.full((len(boxes), 1), number)], 1))
    rows = np.concatenate(found)
    return np.asarray(rows[rows[:, 4] >= PERHAPS], np.float32)


def crop(grey: np.ndarray, points: np.ndarray, rows: np.ndarray) -> Crop:
    """Grey picture (H, W) uint8, labelled points (L, 2), rows (N, 6) of `taught` → picture with boxes."""
    expected = box_from_points(points[None])[0]
    same = np.array([overlap(row[:4], expected) > SAME for row in rows], bool)
    main = rows[same, :4].mean(0) if same.any() else expected
    boxes, counts = [main], [True]
    rest = rows[~same]
    for row in rest[np.argsort(-rest[:, 4])]:
        if all(overlap(row[:4], box) < 0.3 for box in boxes):
            boxes.append(row[:4])
            counts.append(bool(row[4] >= SURE))
    return Crop(grey, np.array(boxes, np.float32), np.array(counts))


def load_faces(root: Path, cache: Path) -> list[Crop]:
    """All faces of `DATABASES`. The library searches once; the folder ``cache`` keeps its boxes."""
    crops = []
    for name, split, times in DATABASES:
        database = open_database(name, root, split, derived=False)
        rows = _kept(database, cache / f"{name}-{split}-taught.npz")
        for index in range(len(database)):
            points = database.annotation(index).landmarks
            five = points["2d5"] if "2d5" in points else points["2d68"]
            crops += [
                crop(database.picture(index), np.asarray(five, np.float64), rows[rows[:, 6] == index, :6])
            ] * times
    return crops


def _kept(database: Database, path: Path) -> np.ndarray:
    """(N, 7): the rows of `taught` for every picture, and the index of the picture."""
    if not path.is_file():
        rows = []
        for index in range(len(database)):
            found = taught(database.picture(index))
            rows.append(np.concatenate([found, np.full((len(found), 1), index)], 1))
        np.savez(path, rows=np.concatenate(rows))
    with np.load(path) as data:
        return np.asarray(data["rows"])


def load_backgrounds(folder: Path, longest: int = 1600) -> list[np.ndarray]:
    """Pictures below a folder as (H, W) uint8, shrunk to ``longest`` pixels. They must show no people."""
    pictures = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp", ".tga"):
            continue
        picture = Image.open(path).convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (128, 128, 128, 255)), picture).convert("L")
        picture.thumbnail((longest, longest))
        if min(picture.size) >= 48:
            pictures.append(np.asarray(picture))
    return pictures


def surroundings(crops: list[Crop], count: int, rng: np.random.Generator, least: int = 48) -> list[np.ndarray]:
    """Parts (H, W) uint8 of pictures of faces that lie beside all boxes: hair, clothes, hands, what is behind people.

    From each picture the larger of four strips, if both sides have at least ``least`` pixels."""
    found: list[np.ndarray] = []
    for index in rng.permutation(len(crops)):
        image, boxes = crops[index].image, crops[index].boxes
        (left, top), (right, bottom) = (
            np.clip(np.round(v), 0, None).astype(int) for v in (boxes[:, :2].min(0), boxes[:, 2:].max(0))
        )
        strip = max((image[:top], image[bottom:], image[:, :left], image[:, right:]), key=lambda part: min(part.shape))
        if min(strip.shape) >= least:
            found.append(strip)
        if len(found) == count:
            break
    return found
