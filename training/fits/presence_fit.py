"""The multiple of the usual spread beyond which a crop holds no face, fitted to faces, harmed faces and no faces."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from acdc_fast.errors import InputError
from acdc_fast.model import Model
from acdc_fast.photo.images import load_picture
from acdc_fast.readout.confidence import narrowest_spread
from acdc_fast.readout.presence import POWER
from acdc_fast.weights import load_weights, save_weights

from ..data import Database

#: Side of the made-up scenes, pixels.
SIDE = 256


def scene(rng: np.random.Generator) -> np.ndarray:
    """(256, 256, 3) uint8 without a face: flat, a gradient, noise of some grain, shapes, or text."""
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


def harmed(rgb: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The photograph dark, blurred, half covered or as it is, and the box moved as a tracker's may be."""
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


def without_face(rgb: np.ndarray, boxes: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """(4,) box in the photograph that meets none of the faces' boxes; None where a few tries find none."""
    for _ in range(8):
        side = rng.uniform(0.12, 0.4) * min(rgb.shape[:2])
        low = rng.uniform(0, np.array(rgb.shape[1::-1]) - side)
        box = np.concatenate([low, low + side])
        if ((boxes[:, :2] >= box[2:]) | (boxes[:, 2:] <= box[:2])).any(1).all():
            return box
    return None


def multiples(model: Model, rgb: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N,) narrowest spread of the crops that `Model.align` reads in the end, as a multiple of the weights' usual."""
    prediction = model.alignment.read([load_picture(rgb)], [np.asarray(boxes, np.float32)])[1][0]
    return np.asarray(narrowest_spread(prediction) / model.usual_spread)


def observe(model: Model, database: Database, limit: int | None) -> Iterator[tuple[float, bool]]:
    """(multiple of the usual spread, whether a face is there) of faces, harmed faces, their surroundings and scenes."""
    count = len(database) if limit is None else min(limit, len(database))
    for i in np.linspace(0, len(database) - 1, count).round().astype(int):
        rng = np.random.default_rng(int(i))
        rgb = np.asarray(Image.open(io.BytesIO(database.pictures.read(database._picture(int(i))))).convert("RGB"))
        faces = model.align(rgb)
        looked = [(rgb, faces.boxes[:1], True)]
        if len(faces):
            other, box = harmed(rgb, faces.boxes[0].astype(np.float64), rng)
            looked.append((other, box[None], True))
        beside = without_face(rgb, faces.boxes, rng)
        if beside is not None:
            looked.append((rgb, beside[None], False))
        low, side = rng.uniform(0, SIDE / 2, 2), rng.uniform(0.15, 0.5) * SIDE
        looked.append((scene(rng), np.concatenate([low, low + side])[None], False))
        for picture, boxes, there in looked:
            yield from ((float(m), there) for m in multiples(model, picture, boxes))


def fit_limit(multiple: np.ndarray, there: np.ndarray) -> float:
    """The multiple at which the chance is ½: of the largest likelihood, faces and others weighing the same."""
    tried = np.geomspace(1, 8, 400)
    z = POWER * np.log(multiple[:, None] / tried)
    loss = np.logaddexp(0, np.where(there[:, None], z, -z))
    return float(tried[(loss[there].mean(0) + loss[~there].mean(0)).argmin()])


def write_presence(path: Path, databases: list[Database], out: Path, limit: int | None, half: bool = False) -> float:
    """The weights with ``presence`` in their card. `InputError` where their usual spread is not known."""
    model = Model(path)
    if not np.isfinite(model.usual_spread):
        raise InputError("--presence needs weights whose usual spread is known: run --calibrate first")
    seen = [each for database in databases for each in observe(model, database, limit)]
    multiple, there = np.array([m for m, _ in seen]), np.array([t for _, t in seen])
    found, weights = fit_limit(multiple, there), load_weights(path)
    save_weights(out, replace(weights, card={**weights.card, "presence": f"{found:.3g}"}), half)
    missed, ghosts = (multiple[there] > found).mean(), (multiple[~there] < found).mean()
    print(f"no face beyond {found:.3g} times the usual spread: so {missed:.1%} of {there.sum()} faces, half of them "
          f"harmed; not so {ghosts:.1%} of {(~there).sum()} places without one")  # fmt: skip
    return found
