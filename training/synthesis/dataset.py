"""Drawn faces as databases: rendered ("synthetic", "skinned", "expressive") and real ones with new poses ("reposed").

A face is drawn when it is asked for, or read from a tar of faces drawn before. Face ``i`` of a split depends only on
its number. The splits of rendered faces use separate ranges of seeds. The splits of reposed faces are the splits by
person of the 68-point frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from acdc_fast.errors import InputError

from ..data.database import Database
from ..data.frames68 import open_frames68
from ..data.sample import Annotation, Sample
from .blendshapes import sample_free
from .face_tar import BLENDSHAPES, Draw, open_drawn
from .mesh import FILE, FaceModel, load_model
from .realskin import take_skin
from .render import Person, Rendered, make_person, render
from .repose import MARKUPS as REPOSED_MARKUPS
from .repose import Fitted, Reposer, fit_face, further_pose

MARKUPS = ("2d98", "2d68", "2d5", "3d68")
#: Number of the first person of each split; a split has a million. "more" is more people to train on.
PEOPLE = {"train": 0, "test": 1_000_000, "more": 2_000_000}
#: The split of the frames that gives them their skin.
SKINS = {"train": "train", "test": "test", "more": "train"}
#: Added for "expressive": other people again.
EXPRESSIVE = 3_000_000
SHOTS = 4  # pictures of each person, or of each real face
SIZE = 192  # pixels of a picture's side


@lru_cache(maxsize=2)
def _model(path: str) -> FaceModel:
    model = load_model(Path(path))
    _ = model.visibility  # once, before the first face
    return model


@lru_cache(maxsize=8)
def _person(path: str, seed: int) -> Person:
    return make_person(_model(path), seed)


@lru_cache(maxsize=8)
def _draw_person(root: str, split: str, size: int, index: int) -> Rendered:
    person = _person(root, PEOPLE[split] + index // SHOTS)
    return render(_model(root), person, index % SHOTS, size)


@lru_cache(maxsize=8)
def _draw_expressive(root: str, split: str, size: int, index: int) -> Rendered:
    person = _person(root, EXPRESSIVE + PEOPLE[split] + index // SHOTS)
    return render(_model(root), person, index % SHOTS, size, expressions=sample_free)


@lru_cache(maxsize=8)
def _skinned_person(root: str, split: str, base: Database, number: int) -> Person:
    """The person with this number, and the skin of a real face."""
    rng = np.random.default_rng([5, PEOPLE[split] + number])
    for _ in range(8):  # a face seen from the side shows too little
        sample, fit = _fitted(root, base, int(rng.integers(len(base))))
        if abs(fit.pose[0]) < 25:
            break
    tone = float(np.clip(rng.normal(0.42, 0.16), 0.07, 0.75))
    skin = take_skin(_reposer(root), sample.image, fit, sample.landmarks["2d68"], tone)
    return make_person(_model(root), PEOPLE[split] + PEOPLE["test"] // 2 + number, skin)


@lru_cache(maxsize=8)
def _draw_skinned(root: str, split: str, size: int, base: Database, index: int) -> Rendered:
    return render(_model(root), _skinned_person(root, split, base, index // SHOTS), index % SHOTS, size)


@lru_cache(maxsize=2)
def _reposer(root: str) -> Reposer:
    return Reposer(_model(root), Path(root) / FILE)


@lru_cache(maxsize=4)
def _fitted(root: str, base: Database, face: int) -> tuple[Sample, Fitted]:
    sample = base[face]
    return sample, fit_face(_reposer(root), sample.landmarks["2d68"])


@lru_cache(maxsize=8)
def _draw_reposed(root: str, base: Database, index: int) -> Rendered:
    face, shot = divmod(index, SHOTS)
    sample, fit = _fitted(root, base, face)
    pose = further_pose(fit.pose, np.random.default_rng([4, face, shot]))
    return _reposer(root).repose(sample.image, fit, sample.landmarks["2d68"], pose)


@dataclass(frozen=True)
class _DrawnPictures:
    """Pictures that are drawn when they are read."""

    label: str
    draw: Draw

    def has(self, name: str) -> bool:
        return name.isdigit()

    def read(self, name: str) -> bytes:
        _, code = cv2.imencode(".pgm", self.draw(int(name)).image)
        return bytes(code.tobytes())

    def where(self, name: str) -> str:
        return f"{self.label} {name}"


class Drawn(Database):
    """Faces that ``draw`` makes from their numbers. Attribute "visible-<markup>" (L,) bool: nothing hides the point."""

    def __init__(self, name: str, split: str, markups: tuple[str, ...], length: int, draw: Draw) -> None:
        self.name, self.split, self.markups, self.length, self.rendered = name, split, markups, length, draw
        self.pictures = _DrawnPictures(f"{name} {split}", draw)

    def __len__(self) -> int:
        return self.length

    def _picture(self, index: int) -> str:
        return f"{index:07d}"

    def annotation(self, index: int) -> Annotation:
        drawn = self.rendered(index)
        more = {} if drawn.blendshapes is None else {BLENDSHAPES: drawn.blendshapes}
        return Annotation(
            source=self.name,
            name=self._picture(index),
            landmarks=drawn.landmarks,
            pose=drawn.pose,
            attributes={f"visible-{markup}": drawn.visible[markup] for markup in self.markups} | more,
        )


def synthetic(root: Path, split: str = "train", length: int = 100_000, size: int = SIZE) -> Drawn:
    """Rendered faces, drawn on the fly. ``root``: the model's file or the folder that holds it."""
    if split not in PEOPLE:
        raise InputError(f"synthetic has splits {', '.join(PEOPLE)}, not {split!r}")
    _model(str(root))  # raises at once if the model is missing
    return Drawn("synthetic", split, MARKUPS, length, partial(_draw_person, str(root), split, size))


def expressive(root: Path, split: str = "train", length: int = 100_000, size: int = SIZE) -> Drawn:
    """The same of other people, with any expression on either side of the face, drawn on the fly: for blendshapes."""
    synthetic(root, split)  # raises at once if the split is unknown or the model missing
    return Drawn("expressive", split, MARKUPS, length, partial(_draw_expressive, str(root), split, size))


def reposed(root: Path, split: str = "train") -> Drawn:
    """The 68-point frames under ``root`` with new poses, `SHOTS` of each, drawn on the fly."""
    _model(str(root))
    base = open_frames68(root, split)
    return Drawn("reposed", split, REPOSED_MARKUPS, SHOTS * len(base), partial(_draw_reposed, str(root), base))


def skinned(root: Path, split: str = "train", length: int = 100_000, size: int = SIZE) -> Drawn:
    """Rendered people with skin taken from the 68-point frames under ``root``, drawn on the fly."""
    base = synthetic(root, split) and open_frames68(root, SKINS[split])
    return Drawn("skinned", split, MARKUPS, length, partial(_draw_skinned, str(root), split, size, base))


def open_synthetic(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    """``synthetic-<split>.tar`` under ``root`` if it exists, else faces drawn on the fly from the model there."""
    stored = root / f"synthetic-{split}.tar"
    return open_drawn(stored, "synthetic", split) if stored.is_file() else synthetic(root, split)


def open_reposed(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    """``reposed-<split>.tar`` under ``root`` if it exists, else faces drawn on the fly."""
    stored = root / f"reposed-{split}.tar"
    return open_drawn(stored, "reposed", split) if stored.is_file() else reposed(root, split)


def open_skinned(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    """``skinned-<split>.tar`` under ``root`` if it exists, else faces drawn on the fly."""
    stored = root / f"skinned-{split}.tar"
    return open_drawn(stored, "skinned", split) if stored.is_file() else skinned(root, split)


def open_expressive(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    """``expressive-<split>.tar`` under ``root`` if it exists, else faces drawn on the fly."""
    stored = root / f"expressive-{split}.tar"
    return open_drawn(stored, "expressive", split) if stored.is_file() else expressive(root, split)
