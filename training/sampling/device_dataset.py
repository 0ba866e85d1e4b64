"""A database as arrays, for a device that keeps all faces and augments them itself (`device_augment`).

The setting is ``on_device: true``; the arrays are `ResidentFaces`, because they stay in the memory of the device.

A face is cut out of its picture once, onto a canvas with room for any crop that augmentation may take. A small face
keeps its own pixels. A large one is averaged down, so that a crop of up to `NOMINAL` pixels loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from acdc_fast.errors import InputError

from ..data import Database
from ..data.sample import Sample
from ..settings import Source
from .augment import face_square, warp
from .batches import Given, moved, named, start_worker

#: Side of a canvas in pixels, and the largest side of the crop square in it: the canvas holds 1.65 squares.
SIDE, NOMINAL = 192, 116


@dataclass(frozen=True)
class ResidentFaces:
    """N faces of one database. Pixels are those of the canvases, centres at integers."""

    name: str
    images: Tensor  # (N, SIDE, SIDE) uint8
    inside: Tensor  # (N, 4) x0, y0, x1, y1: the picture's outermost pixel centres
    squares: Tensor  # (N, 3) centre x, y and side of the upright crop square
    landmarks: Mapping[str, Tensor]  # markup -> (N, L, 2)
    weights: Mapping[str, Tensor]  # markup -> (N, L)
    pose: Tensor | None  # (N, 3) degrees; a row of NaN is unknown

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> ResidentFaces:
        return ResidentFaces(
            self.name, self.images.to(device), self.inside.to(device), self.squares.to(device),
            {m: v.to(device) for m, v in self.landmarks.items()}, {m: v.to(device) for m, v in self.weights.items()},
            None if self.pose is None else self.pose.to(device),
        )  # fmt: skip


class _Canvases(Dataset[dict[str, Any]]):
    """One face at a time, as arrays of fixed shapes."""

    def __init__(self, database: Database, source: Source) -> None:
        self.database, self.source, self.markups = database, source, database.markups

    def __getitem__(self, index: int) -> dict[str, Any]:
        with named(self.database, index):
            return self._canvas(moved(self.database[index], self.source))

    def _canvas(self, sample: Sample) -> dict[str, Any]:
        cx, cy, side = face_square(sample)[:3]
        scale = min(1.0, NOMINAL / side)
        # A small face's canvas is moved by whole pixels, so that nothing is interpolated.
        centre = np.floor([cx, cy]) + 0.5 if scale == 1 else np.array([cx, cy])
        image = warp(sample.image, np.array([*centre, SIDE / scale, 0.0]), SIDE)

        def placed(points: Any) -> np.ndarray:
            return np.asarray((np.asarray(points) - centre) * scale + (SIDE - 1) / 2, np.float32)

        h, w = sample.image.shape
        inside = np.clip(np.concatenate([placed([0, 0]), placed([w - 1, h - 1])]), 0, SIDE - 1)
        face = {
            "image": image, "inside": inside,
            "square": np.array([*placed([cx, cy]), side * scale], np.float32),
            "pose": np.full(3, np.nan, np.float32) if sample.pose is None else sample.pose.astype(np.float32),
        }  # fmt: skip
        for markup in self.markups:
            points = sample.landmarks[markup]
            weights = np.asarray(sample.weights.get(markup, np.ones(len(points))), np.float32)
            face[f"points {markup}"] = placed(points)
            face[f"weights {markup}"] = weights * np.float32(self.source.markups.get(markup, 1.0))
        return face


def _collate(faces: Sequence[dict[str, Any] | InputError]) -> dict[str, Tensor] | InputError:
    """Faces as arrays with one more dimension, or the first error among them."""
    wrong = next((face for face in faces if isinstance(face, InputError)), None)
    return wrong or cast("dict[str, Tensor]", default_collate(list(faces)))


def make_resident(database: Database, source: Source, workers: int = 0) -> ResidentFaces:
    """All faces of a database, decoded by ``workers`` processes. About 37 KB for each face.

    Raises `InputError` for pictures that cannot be read.
    """
    loader = DataLoader(
        Given(_Canvases(database, source)), batch_size=128, sampler=range(len(database)), num_workers=workers,
        collate_fn=_collate, worker_init_fn=start_worker if workers else None,
    )  # fmt: skip
    parts: list[dict[str, Tensor]] = []
    for part in loader:
        if isinstance(part, InputError):
            raise part
        parts.append(part)
    whole = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    known = torch.isfinite(whole["pose"]).all(1).any()
    return ResidentFaces(
        database.name, whole["image"], whole["inside"], whole["square"],
        {m: whole[f"points {m}"] for m in database.markups}, {m: whole[f"weights {m}"] for m in database.markups},
        whole["pose"] if known else None,
    )  # fmt: skip
