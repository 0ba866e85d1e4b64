"""What detectors find and what they should not: one JSON file for all, so that each is measured once.

    python bench/detector_quality.py DATA_ROOT OUT.json [--detectors own library …] [--parts dev empty …]
        [--empty FOLDER …] [--weights acdc-w16-fast]

Parts:
  dev      the 1 001 faces of `mtfl-aflw-dev`: which are found, and other boxes
  empty    boxes in pictures without people (``--empty``), by folder; then in black, grey, noise and gradients
  turned   every fifth face of the list, turned by 45, 90, 180 and 270°, on grey
  beside   the same without 45°, each beside an upright face of the list: counted are the turned ones
  collages 20 faces of each size on grey, as `find_faces.py` pastes them, without min_size
  error    error of the five points after `align` with the detector's boxes, own offset removed; % of the eyes'
           distance, and how many faces it is of (ours alone)

A face counts as found where a box has the middle of its five points inside, and √(w·h) within a factor of two of what
its points ask for: detectors draw their boxes differently. Every entry keeps the scores, for other thresholds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from face_finders import FINDERS, Finder, Unavailable
from find_faces import collage
from PIL import Image

from acdc_fast.photo.coordinates import box_from_points
from acdc_fast.training.data import open_database

TURNS = (45, 90, 180, 270)
COLLAGES = [((1000, 750), height) for height in (20, 30, 60)] + [((4000, 3000), height) for height in (60, 120, 400)]


def development(root: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """RGB pictures (H, W, 3) and five points (5, 2)."""
    database = open_database("mtfl", root, "dev", derived=False)
    with tarfile.open(root / "mtfl-aflw-dev.tar") as tar:
        pictures = {}
        for member in tar:
            if member.name.endswith(".jpg"):
                data = tar.extractfile(member)
                assert data is not None
                pictures[os.path.basename(member.name)] = np.asarray(Image.open(io.BytesIO(data.read())).convert("RGB"))
    faces = (database.annotation(i) for i in range(len(database)))
    return [(pictures[os.path.basename(face.name)], np.asarray(face.landmarks["2d5"], float)) for face in faces]


def fitting(found: np.ndarray, middle: np.ndarray, size: float) -> np.ndarray:
    """(N, 5) boxes → (N,) which of them are the face with this middle and size √(w·h)."""
    x0, y0, x1, y1 = found[:, :4].T
    inside = (x0 < middle[0]) & (middle[0] < x1) & (y0 < middle[1]) & (middle[1] < y1)
    side = np.sqrt(np.maximum(x1 - x0, 1e-6) * np.maximum(y1 - y0, 1e-6))
    return np.asarray(inside & (abs(np.log(side / size)) < np.log(2)))


def compared(find: Finder, pictures: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Pictures with middles (F, 2) and sizes (F,) of their faces → best score of each face, scores of other boxes."""
    faces, others, start = [], [], time.process_time()
    for rgb, middles, sizes in pictures:
        found = find(rgb)
        taken = np.zeros(len(found), bool)
        for middle, size in zip(middles, sizes, strict=True):
            fits = fitting(found, middle, size)
            faces.append(float(found[fits, 4].max()) if fits.any() else None)
            taken |= fits
        others += found[~taken, 4].tolist()
    return {"faces": faces, "others": others, "seconds": time.process_time() - start}


def first_of_two(values: dict[str, Any]) -> dict[str, Any]:
    """Of pictures with two faces the first of each, and how often the second was not found."""
    lost = sum(score is None for score in values["faces"][1::2])
    return values | {"faces": values["faces"][::2], "lost": lost}


def upright(dev: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return [(rgb, five.mean(0)[None], _sizes(box_from_points(five[None]))) for rgb, five in dev]


def _sizes(boxes: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))


def turned(dev: list[tuple[np.ndarray, np.ndarray]], degrees: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    pictures = []
    for rgb, middles, sizes in upright(dev[::5]):
        picture = Image.fromarray(rgb)
        new = picture.rotate(degrees, Image.Resampling.BILINEAR, expand=True, fillcolor=(128, 128, 128))
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        middle = (middles - np.array(picture.size) / 2) @ np.array([[c, -s], [s, c]]) + np.array(new.size) / 2
        pictures.append((np.asarray(new), middle, sizes))
    return pictures


def beside(dev: list[tuple[np.ndarray, np.ndarray]], degrees: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    pictures = []
    for (rgb, middles, sizes), (left, own, size) in zip(turned(dev, degrees), upright(dev[1::5]), strict=False):
        width = left.shape[1]
        picture = np.full((max(len(left), len(rgb)), width + rgb.shape[1], 3), 128, np.uint8)
        picture[: len(left), :width], picture[: len(rgb), width:] = left, rgb
        middles = np.concatenate([middles + (width, 0), own])
        pictures.append((picture, middles, np.concatenate([sizes, size])))
    return pictures


def collages(dev: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    faces = []
    for rgb, five in dev:
        box = box_from_points(five[None])[0]
        if box[3] - box[1] > 60 and box[:2].min() > -5 and (box[2:] < np.array(rgb.shape[1::-1]) + 5).all():
            faces.append((Image.fromarray(rgb), box))
    pasted = {}
    for size, height in COLLAGES:
        rng = np.random.default_rng(height)
        picture, boxes = collage([faces[i] for i in rng.permutation(len(faces))[:20]], size, height, rng)
        pasted[f"{size[0]}×{size[1]}, {height}"] = (picture, (boxes[:, :2] + boxes[:, 2:]) / 2, _sizes(boxes))
    return pasted


def empty(folders: list[Path]) -> dict[str, list[np.ndarray]]:
    """Pictures without people, by folder and the first word of the file's name; at most 640 pixels long."""
    found: dict[str, list[np.ndarray]] = {}
    for path in sorted(path for folder in folders for path in folder.iterdir()):
        picture = Image.open(path).convert("RGB")
        picture.thumbnail((640, 640))
        found.setdefault(path.name.split("-")[0], []).append(np.asarray(picture))
    rng, ramp = np.random.default_rng(0), np.linspace(0, 255, 480)[:, None]
    made = [np.full((480, 480), value) for value in (0, 128, 255)]
    made += [ramp + 0 * ramp.T, (ramp + ramp.T) / 2, abs(ramp - ramp.T)]
    for coarse in (480, 240, 120, 60, 30, 12, 6):
        for spread in (8, 30, 80):
            noise = Image.fromarray(np.clip(rng.normal(128, spread, (coarse, coarse)), 0, 255).astype(np.uint8))
            made.append(np.asarray(noise.resize((480, 480), Image.Resampling.BICUBIC)))
    found["black, grey, noise, gradients"] = [np.repeat(np.uint8(image)[..., None], 3, 2) for image in made]
    return found


def aligned_errors(find: Finder, dev: list[tuple[np.ndarray, np.ndarray]], weights: str) -> list[float | None]:
    """Error of each face that is found, % of the eyes' distance, the list's own mean offset removed."""
    from acdc_fast import Model

    model = Model.from_pretrained(weights, threads=1)
    gaps = np.full((len(dev), 5, 2), np.nan)
    for i, (rgb, middles, sizes) in enumerate(upright(dev)):
        found = find(rgb)
        found = found[fitting(found, middles[0], sizes[0])]
        if len(found):
            faces = model.align(rgb, boxes=found[[found[:, 4].argmax()], :4])
            five = dev[i][1]
            gaps[i] = (faces.landmarks["2d5"][0] - five) / np.linalg.norm(five[1] - five[0])
    errors = 100 * np.linalg.norm(gaps - np.nanmean(gaps, 0), axis=2).mean(1)
    return [None if np.isnan(error) else float(error) for error in errors]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--detectors", nargs="+", default=list(FINDERS), choices=list(FINDERS))
    parser.add_argument("--parts", nargs="+", default=["dev", "empty", "turned", "beside", "collages", "error"])
    parser.add_argument("--empty", type=Path, nargs="*", default=[], help="folders of pictures without people")
    parser.add_argument("--weights", default="acdc-w16-fast")
    args = parser.parse_args()
    dev = development(args.root)
    record: dict[str, Any] = json.loads(args.out.read_text()) if args.out.is_file() else {}
    jobs: dict[str, Callable[[Finder], Any]] = {"dev": lambda find: compared(find, upright(dev))}
    jobs["empty"] = lambda find: {
        name: compared(find, [(rgb, np.zeros((0, 2)), np.zeros(0)) for rgb in pictures]) | {"pictures": len(pictures)}
        for name, pictures in empty(args.empty).items()
    }
    jobs["turned"] = lambda find: {str(degrees): compared(find, turned(dev, degrees)) for degrees in TURNS}
    jobs["beside"] = lambda find: {
        str(degrees): first_of_two(compared(find, beside(dev, degrees))) for degrees in TURNS if degrees != 45
    }
    jobs["collages"] = lambda find: {name: compared(find, [one]) for name, one in collages(dev).items()}
    jobs["error"] = lambda find: aligned_errors(find, dev, args.weights)
    for name in args.detectors:
        try:
            find = FINDERS[name]()
        except (ImportError, Unavailable) as reason:
            print(f"{name}: left out: {reason}", flush=True)
            continue
        for part in args.parts:
            if part in record.get(name, {}) or (part == "error" and name not in ("own", "library", "both")):
                continue
            record.setdefault(name, {})[part] = jobs[part](find)
            args.out.write_text(json.dumps(record))
            print(f"{name}: {part}: {told(part, record[name][part])}", flush=True)


def told(part: str, values: Any) -> str:
    if part == "error":
        errors = [value for value in values if value is not None]
        return f"{np.mean(errors):.2f} %, median {np.median(errors):.2f} % of {len(errors)} faces"
    if part == "dev":
        values = {"faces": values}
    texts = []
    for name, value in values.items():
        count = sum(score is not None for score in value["faces"])
        whole = f"{count} of {len(value['faces'])}, {len(value['others'])} more"
        texts.append(f"{name} {len(value['others'])} in {value['pictures']}" if part == "empty" else f"{name} {whole}")
    return "; ".join(texts)


if __name__ == "__main__":
    main()
