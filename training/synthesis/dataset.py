"""Rendered faces as a database: drawn when asked for, or rendered once into a tar.

Face ``i`` of a split is a function of its number alone. The splits draw their people from separate ranges of seeds, so
nobody is in both.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from acdc_fast.errors import InputError

from ..data.sample import Annotation, Database, Extended, Table, TarPictures
from .mesh import FaceModel, load_model
from .render import Person, Rendered, make_person, render

MARKUPS = ("2d98", "2d68", "2d5", "3d68")
#: First person of each split; a split has a million.
PEOPLE = {"train": 0, "test": 1_000_000}
SHOTS = 4  # of each person
SIZE = 192  # pixels of a picture's side
LABELS = "annotations.npz"


@lru_cache(maxsize=2)
def _model(path: str) -> FaceModel:
    model = load_model(Path(path))
    _ = model.visibility  # once, before the first face
    return model


@lru_cache(maxsize=8)
def _person(path: str, seed: int) -> Person:
    return make_person(_model(path), seed)


@lru_cache(maxsize=8)
def draw(path: str, split: str, index: int, size: int) -> Rendered:
    """Face ``index`` of a split, from the model at ``path``."""
    person = _person(path, PEOPLE[split] + index // SHOTS)
    return render(_model(path), person, index % SHOTS, size)


@dataclass(frozen=True)
class _Drawn:
    """Pictures that are drawn when they are read."""

    root: str
    split: str
    size: int

    def has(self, name: str) -> bool:
        return name.isdigit()

    def read(self, name: str) -> bytes:
        _, code = cv2.imencode(".pgm", draw(self.root, self.split, int(name), self.size).image)
        return bytes(code.tobytes())

    def where(self, name: str) -> str:
        return f"synthetic {self.split} {name}"


class Synthetic(Database):
    """Faces rendered on the fly. ``root``: the model's file or the folder that holds it."""

    def __init__(self, root: Path, split: str = "train", length: int = 100_000, size: int = SIZE) -> None:
        if split not in PEOPLE:
            raise InputError(f"synthetic has splits {', '.join(PEOPLE)}, not {split!r}")
        self.root, self.length, self.size = str(root), length, size
        self.name, self.split, self.markups = "synthetic", split, MARKUPS
        self.pictures = _Drawn(self.root, split, size)
        _model(self.root)  # so that a missing model is said at once

    def __len__(self) -> int:
        return self.length

    def rendered(self, index: int) -> Rendered:
        return draw(self.root, self.split, index, self.size)

    def _picture(self, index: int) -> str:
        return f"{index:07d}"

    def annotation(self, index: int) -> Annotation:
        drawn = self.rendered(index)
        return Annotation(
            source=self.name,
            name=self._picture(index),
            landmarks=drawn.landmarks,
            pose=drawn.pose,
            attributes={f"visible-{markup}": drawn.visible[markup] for markup in self.markups},
        )


def open_synthetic(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    """``synthetic-<split>.tar`` under ``root`` where there is one, else faces drawn on the fly from the model there."""
    stored = root / f"synthetic-{split}.tar"
    return open_rendered(stored, split) if stored.is_file() else Synthetic(root, split)


def open_rendered(path: Path, split: str = "train") -> Database:
    """The faces of a tar that `write_rendered` wrote."""
    pictures = TarPictures(path)
    if not pictures.has(LABELS):
        raise InputError(f"{path}: holds no {LABELS}; was it written by the synthesiser?")
    with np.load(io.BytesIO(pictures.read(LABELS)), allow_pickle=False) as labels:
        data = {key: labels[key] for key in labels.files}
    names = [f"{i:07d}.jpg" for i in data["index"]]
    visible = {f"visible-{m}": data[f"visible-{m}"] for m in MARKUPS}
    table = Table("synthetic", split, pictures, names, names, {m: data[m] for m in MARKUPS}, attributes=visible)
    return Extended(table, poses=data["pose"])


def _render_one(job: tuple[str, str, int, int]) -> tuple[int, bytes, Rendered]:
    root, split, size, index = job
    cv2.setNumThreads(1)
    drawn = draw(root, split, index, size)
    _, code = cv2.imencode(".jpg", drawn.image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return index, code.tobytes(), drawn


def render_many(root: Path, split: str, indices: range, size: int, workers: int) -> Iterator[tuple[int, bytes, Rendered]]:
    """JPEG and labels of each face, in order."""
    jobs = [(str(root), split, size, i) for i in indices]
    if workers <= 1:
        yield from map(_render_one, jobs)
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers) as pool:
        yield from pool.imap(_render_one, jobs, chunksize=4 * SHOTS)


def write_rendered(path: Path, root: Path, split: str, indices: range, size: int = SIZE, workers: int = 2) -> None:
    """Render faces into a tar, written beside and renamed when complete."""
    partial = path.with_name(path.name + ".partial")
    labels: dict[str, list[np.ndarray]] = {key: [] for key in ("index", "pose", *MARKUPS, *(f"visible-{m}" for m in MARKUPS))}
    with tarfile.open(partial, "w") as tar:

        def add(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

        for index, code, drawn in render_many(root, split, indices, size, workers):
            add(f"{index:07d}.jpg", code)
            labels["index"].append(np.int64(index))
            labels["pose"].append(drawn.pose)
            for markup in MARKUPS:
                labels[markup].append(drawn.landmarks[markup])
                labels[f"visible-{markup}"].append(drawn.visible[markup])
        buffer = io.BytesIO()
        np.savez(buffer, **{key: np.asarray(values) for key, values in labels.items()})
        add(LABELS, buffer.getvalue())
    partial.replace(path)
