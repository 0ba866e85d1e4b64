"""Fits the limit of the spread from which a crop counts as one without a face.

The limit is a multiple of the usual spread. It is fitted to faces, degraded faces and places without a face.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from acdc_fast.alignment import Squares
from acdc_fast.errors import InputError
from acdc_fast.model import Model
from acdc_fast.photo.coordinates import square_from_box
from acdc_fast.photo.images import load_picture
from acdc_fast.readout.presence import POWER
from acdc_fast.weights import load_weights, save_weights

from ..data import Database
from ..observations import chosen

#: Side of the generated scenes, pixels.
SIDE = 256


def scene(rng: np.random.Generator) -> np.ndarray:
    """(256, 256, 3) uint8 without a face: one colour, a gradient, noise, shapes, or text."""
    colours = rng.integers(0, 256, (2, 3))
    kind = rng.integers(5)
    if kind == 0:
        return np.full((SIDE, SIDE, 3), colours[0], np.uint8)
    if kind == 1:
        y, x = np.mgrid[:SIDE, :SIDE] / SIDE
        slope = (x if rng.random() < 0.5 else y)[..., None]
        return np.asarray(colours[0] + slope * (colours[1] - colours[0])).astype(np.uint8)
    if kind == 2:
        grain = int(2 ** rng.integers(1, 9))
        noise = Image.fromarray(rng.integers(0, 256, (grain, grain, 3)).astype(np.uint8))
        return np.asarray(noise.resize((SIDE, SIDE), Image.Resampling(int(rng.choice([0, 2, 3])))))
    picture = Image.new("RGB", (SIDE, SIDE), tuple(colours[0].tolist()))
    pen = ImageDraw.Draw(picture)
    for row in range(16):
        a, b = np.sort(rng.integers(-30, SIDE + 30, (2, 2)), 0).tolist()
        fill = tuple(rng.integers(0, 256, 3).tolist())
        if kind == 3:
            (pen.ellipse if row % 2 else pen.rectangle)((*a, *b), fill=fill)
        else:
            pen.text((4, 16 * row), "".join(map(chr, rng.integers(33, 126, 50))), fill=tuple(colours[1].tolist()))
    return np.asarray(picture)


def degraded(rgb: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The photograph darkened, blurred, half covered or unchanged; and the box, moved as a tracker may do."""
    width, height = (box[2:] - box[:2]).tolist()
    kind = rng.integers(4)
    if kind == 0:
        rgb = (rgb * rng.uniform(0.1, 0.3)).astype(np.uint8)
    elif kind == 1:
        rgb = np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(width * float(rng.uniform(0.03, 0.06)))))
    elif kind == 2:
        cover = Image.fromarray(rgb)
        x, y = (box[:2] + rng.choice([[0, 0.5], [0, -0.5], [0.5, 0], [-0.5, 0]]) * (width, height)).tolist()
        ImageDraw.Draw(cover).rectangle((x, y, x + width, y + height), fill=tuple(rng.integers(0, 256, 3).tolist()))
        rgb = np.asarray(cover)
    return rgb, box + np.tile(rng.normal(0, 0.1 * width, 2), 2)


def box_without_face(rgb: np.ndarray, boxes: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """(4,) box in the photograph that overlaps none of ``boxes`` (N, 4); None if a few tries find none."""
    for _ in range(8):
        side = rng.uniform(0.12, 0.4) * min(rgb.shape[:2])
        low = rng.uniform(0, np.array(rgb.shape[1::-1]) - side)
        box = np.concatenate([low, low + side])
        if ((boxes[:, :2] >= box[2:]) | (boxes[:, 2:] <= box[:2])).any(1).all():
            return box
    return None


def multiples(model: Model, rgb: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N,) narrowest spread of the crops that `Model.align` reads last, as multiples of the weights' usual spread."""
    squares = Squares.listed([load_picture(rgb)], [square_from_box(np.asarray(boxes, np.float32))])
    return np.asarray(model.reader.read(squares)[1].narrowest / model.usual_spread)


def observe(model: Model, database: Database, limit: int | None) -> Iterator[tuple[float, bool]]:
    """(multiple of the usual spread, whether there is a face) for faces, degraded faces, boxes beside faces, scenes."""
    for i in chosen(database, limit):
        rng, rgb = np.random.default_rng(i), database.colour(i)
        faces = model.align(rgb)
        cases = [(rgb, faces.boxes[:1], True)]
        if len(faces):
            changed, box = degraded(rgb, faces.boxes[0].astype(np.float64), rng)
            cases.append((changed, box[None], True))
        beside = box_without_face(rgb, faces.boxes, rng)
        if beside is not None:
            cases.append((rgb, beside[None], False))
        low, side = rng.uniform(0, SIDE / 2, 2), rng.uniform(0.15, 0.5) * SIDE
        cases.append((scene(rng), np.concatenate([low, low + side])[None], False))
        for picture, boxes, is_face in cases:
            yield from ((float(m), is_face) for m in multiples(model, picture, boxes))


def fit_limit(multiple: np.ndarray, is_face: np.ndarray) -> float:
    """The multiple at which the chance is ½, by maximum likelihood. Faces and other places have equal weight."""
    limits = np.geomspace(1, 8, 400)
    z = POWER * np.log(multiple[:, None] / limits)
    loss = np.logaddexp(0, np.where(is_face[:, None], z, -z))
    return float(limits[(loss[is_face].mean(0) + loss[~is_face].mean(0)).argmin()])


def write_presence(path: Path, databases: list[Database], out: Path, limit: int | None, half: bool = False) -> float:
    """The weights with ``presence`` in their card. Raises `InputError` if their usual spread is not known."""
    model = Model(path)
    if not np.isfinite(model.usual_spread):
        raise InputError("--presence needs weights whose usual spread is known: run --calibrate first")
    seen = [each for database in databases for each in observe(model, database, limit)]
    multiple, is_face = np.array([m for m, _ in seen]), np.array([face for _, face in seen])
    fitted, weights = fit_limit(multiple, is_face), load_weights(path)
    save_weights(out, replace(weights, card={**weights.card, "presence": f"{fitted:.3g}"}), half)
    missed, false = (multiple[is_face] > fitted).mean(), (multiple[~is_face] < fitted).mean()
    print(f"limit {fitted:.3g} times the usual spread: above it are {missed:.1%} of {is_face.sum()} faces, half of "
          f"them degraded; below it are {false:.1%} of {(~is_face).sum()} places without a face")  # fmt: skip
    return fitted
