"""Faces of one's own: a plain CSV, or COCO's keypoints. Pictures lie in the data folder, by the names in the list.

``faces-train.csv``: a row a face. Columns ``image``; ``2d68_x0``, ``2d68_y0``, ``2d68_x1`` and so on for each markup,
as `Faces.to_pandas` names them; ``x0``, ``y0``, ``x1``, ``y1`` of the face's box where there is one. Pixels, their
centres at whole numbers. An empty cell: the point is unknown. Other columns are left alone.

``coco-train.json``: COCO's layout with ``images``, ``annotations`` and ``categories``. A category's name is that of a
markup with as many points, or its keypoints have the names of a markup's points; or else the first markup with as many
points is taken. A point of visibility 0 is unknown.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acdc_fast.errors import InputError, shown
from acdc_fast.markups import MARKUPS, of_count

from .broken import Broken
from .database import Database, Extended, Table
from .label_checks import check_names, check_sides, usable
from .pictures import FolderPictures

BOX = ("x0", "y0", "x1", "y1")


def open_csv(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    """``faces-<split>.csv``. Raises `InputError` with file and line."""
    path, broken, pictures = root / f"faces-{split}.csv", Broken(skip_broken), FolderPictures(root)
    rows = csv.DictReader(io.StringIO(_read(path)))
    columns = list(rows.fieldnames or ())
    markups = [m for m in MARKUPS if f"{m}_x0" in columns]
    if "image" not in columns or not markups:
        stray = [column[:-3] for column in columns if column.endswith("_x0")]
        unknown = f"; no markup is named {shown(stray[0])}, known are {', '.join(MARKUPS)}" if stray else ""
        needed = "columns image, 2d68_x0, 2d68_y0 and so on are needed"
        raise InputError(f"{path}:1: {needed}, not {shown(columns)}{unknown}")
    wanted = {m: [f"{m}_{axis}{k}" for k in range(MARKUPS[m].points) for axis in "xy"] for m in markups}
    missing = [name for names in wanted.values() for name in names if name not in columns]
    if missing:
        raise InputError(f"{path}:1: column {missing[0]} is missing")
    boxed = all(name in columns for name in BOX)
    if not boxed and any(name in columns for name in BOX):
        raise InputError(f"{path}:1: a box has all of the columns {', '.join(BOX)}, or none of them")
    names, points, boxes = [], {m: list[np.ndarray]() for m in markups}, list[np.ndarray]()
    for row in rows:
        where, image = f"{path}:{rows.line_num}", row["image"]
        try:
            found = {m: _cells(row, wanted[m]).reshape(-1, 2) for m in markups}
            box = _cells(row, BOX) if boxed else np.full(4, np.nan)
        except ValueError as error:
            broken.report(f"{where}: {error}")
            continue
        if not usable(image, pictures, where, broken, box, found):
            continue
        names.append(image)
        for markup, values in found.items():
            points[markup].append(values)
        boxes.append(box)
    return _database("csv", split, pictures, names, points, boxes, broken)


def open_coco(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    """``coco-<split>.json``. Raises `InputError` naming the file and the annotation."""
    path, broken, pictures = root / f"coco-{split}.json", Broken(skip_broken), FolderPictures(root)
    try:
        content = json.loads(_read(path))
        files = {image["id"]: str(image["file_name"]) for image in content["images"]}
        markups = {c["id"]: _markup(c, path) for c in content["categories"] if c.get("keypoints")}
        annotations = list(content["annotations"])
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {shown(str(error))}"
        raise InputError(f"{path}: COCO's keypoints need images, annotations and categories ({reason})") from error
    used = list(dict.fromkeys(markups.values()))
    if len(used) != 1:
        raise InputError(f"{path}: keypoints of one markup are needed, these are of {', '.join(used) or 'none'}")
    names, points, boxes = [], list[np.ndarray](), list[np.ndarray]()
    for number, each in enumerate(annotations):
        where = f"{path}: annotation {number}"
        try:
            if each["image_id"] not in files:
                raise ValueError(f"image_id {each['image_id']!r} is none of the images")
            image = files[each["image_id"]]
            if each["category_id"] not in markups:
                continue
            values, wanted = np.array(each["keypoints"], np.float64), 3 * MARKUPS[used[0]].points
            if values.shape != (wanted,):
                raise ValueError(f"keypoints holds {values.size} numbers, not {wanted}")
            values = values.reshape(-1, 3)
            x, y, w, h = np.array(each["bbox"], np.float64) if "bbox" in each else np.full(4, np.nan)
        except (ValueError, KeyError, TypeError) as error:
            broken.report(f"{where}: {type(error).__name__}: {shown(str(error))}", error)
            continue
        values[values[:, 2] == 0] = np.nan
        box = np.array([x, y, x + w, y + h])
        known = np.asarray(np.isfinite(values).all(1))
        places = np.where(known[:, None], values[:, :2], np.nan)
        if not usable(image, pictures, where, broken, box, {used[0]: places}):
            continue
        names.append(image)
        points.append(places)
        boxes.append(box)
    return _database("coco", split, pictures, names, {used[0]: points}, boxes, broken)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _cells(row: Mapping[str, str | None], names: Sequence[str]) -> np.ndarray:
    """Numbers of these columns, NaN where a cell is empty; ``ValueError`` names a column with something else."""
    values = np.full(len(names), np.nan)
    for i, name in enumerate(names):
        text = (row[name] or "").strip()
        if text:
            try:
                values[i] = float(text)
            except ValueError:
                values[i] = np.inf
            if not np.isfinite(values[i]):
                raise ValueError(f"column {name} holds {shown(text)}, not a number")
    return values


def _markup(category: Mapping[str, Any], path: Path) -> str:
    name, count = str(category.get("name", "")), len(category["keypoints"])
    alike = [m.name for m in MARKUPS.values() if m.names and list(m.names) == category["keypoints"]]
    if name not in MARKUPS and alike:  # the same points by name and order
        return alike[0]
    if name in MARKUPS:
        if MARKUPS[name].points != count:
            raise InputError(f"{path}: category {name} has {count} keypoints, the markup {MARKUPS[name].points}")
        check_names(MARKUPS[name], category["keypoints"], f"{path}: category {name}")
        return name
    for markup in MARKUPS.values():  # one of as many points that has names, but others: which is meant?
        if markup.points == count:
            check_names(markup, category["keypoints"], f"{path}: category {shown(name)}")
    try:
        return of_count(count).name
    except ValueError as error:
        raise InputError(f"{path}: category {shown(name)}: {error}") from error


def _database(
    name: str,
    split: str,
    pictures: FolderPictures,
    names: Sequence[str],
    points: Mapping[str, Sequence[np.ndarray]],
    boxes: Sequence[np.ndarray],
    broken: Broken,
) -> Database:
    if not names:
        raise InputError(f"{pictures.root}: {name}, split {split}, lists no face")
    arrays = {m: np.asarray(values, np.float32) for m, values in points.items()}
    for markup, values in arrays.items():
        check_sides(f"{pictures.root}: {name}, split {split}", markup, values)
    weights = {m: np.asarray(np.isfinite(values).all(2), np.float32) for m, values in arrays.items()}
    faces = Table(name, split, pictures, names, names, arrays, skipped=broken.messages)
    return Extended(faces, boxes=np.asarray(boxes, np.float32), weights=weights)
