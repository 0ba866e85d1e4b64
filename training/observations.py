"""Output of a network for the faces of a database: on crops by the labels, through `Model.align`, or as in training.

`observe_align` opens `acdc_fast.Model` as a user would. `predict_crops` does so for its speed. Nothing else in training
uses an engine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from acdc_fast.network import ACDC
from acdc_fast.photo.coordinates import crop_to_image
from acdc_fast.readout.head_pose import Readout, corrected
from acdc_fast.readout.refinement import Refinement, refined
from acdc_fast.types import Faces
from acdc_fast.weights import load_weights

from .data import Database
from .data.sample import Annotation
from .loop.validation import predict
from .sampling.augment import Crop, crop_face
from .sampling.batches import moved, open_source
from .settings import Augmentation, Source


@dataclass(frozen=True)
class Observations:
    """N faces of a database: labels, and the output of each stage. Faces that the detector missed are NaN."""

    annotations: list[Annotation]
    points: list[dict[str, np.ndarray]]  # one per stage: markup -> (N, L, 2) image pixels
    poses: list[np.ndarray]  # one per stage: (N, 3) degrees; empty without a pose head
    spread: dict[str, np.ndarray]  # last stage: markup -> (N, L) crop units
    side: np.ndarray  # (N,) side of the crop in pixels
    mean_spreads: np.ndarray  # (stages, N) mean spread of all maps, crop units
    light: np.ndarray  # (N,) mean grey of the face, 0 to 255
    visible: np.ndarray | None = None  # (N, 68) chance that a point of `2d68` is in sight; None: not read out

    @property
    def missed(self) -> np.ndarray:
        """(N,) whether the detector missed the face."""
        return np.asarray(np.isnan(self.side))

    def labelled(self, markup: str) -> tuple[np.ndarray, np.ndarray]:
        """(N', L, 2) labels and (N',) indices of the faces of which every point of this markup is known."""
        marked = [(i, a.landmarks[markup]) for i, a in enumerate(self.annotations) if markup in a.landmarks]
        known = np.array([i for i, points in marked if np.isfinite(points).all()], np.int64)
        return np.array([self.annotations[i].landmarks[markup] for i in known], np.float64), known

    def posed(self) -> tuple[np.ndarray, np.ndarray]:
        """(N', 3) poses and (N',) indices of the faces that have one."""
        known = np.array([i for i, a in enumerate(self.annotations) if a.pose is not None], np.int64)
        return np.array([self.annotations[i].pose for i in known], np.float64).reshape(-1, 3), known


def chosen(database: Database, limit: int | None) -> list[int]:
    """At most ``limit`` faces, spread evenly over the database."""
    count = len(database) if limit is None else min(limit, len(database))
    return [int(i) for i in np.linspace(0, len(database) - 1, count).round()]


def observe_crops(
    network: ACDC,
    database: Database,
    resolution: int,
    device: torch.device,
    limit: int | None = None,
    refinement: Refinement | None = None,
    readout: Readout | None = None,
) -> Observations:
    """On crops cut by the annotation's box: the detector's box if there is one, else computed from the points.

    ``refinement`` and ``readout`` are those of the weights. They correct landmarks and pose as `Model.align` does.
    """
    outcome = predict(network, database, resolution, device, limit)
    if refinement:
        order = network.config.order
        outcome = replace(outcome, predicted=tuple(refined(p, refinement, order) for p in outcome.predicted))
    squares = np.stack([c.square for c in outcome.crops])
    return Observations(
        [database.annotation(i) for i in chosen(database, limit)],
        [{m: crop_to_image(p, squares) for m, p in stage.items()} for stage in outcome.predicted],
        [
            corrected(pose, points[network.config.solid[0]], readout) if readout else pose
            for pose, points in zip(outcome.pose, outcome.predicted, strict=bool(outcome.pose))
        ],
        outcome.spread,
        squares[:, 2],
        outcome.mean_spreads,
        np.array([c.image.mean() for c in outcome.crops], np.float64),
    )


def observe_align(
    weights: Path,
    database: Database,
    resolution: int,
    limit: int | None = None,
    backend: str = "auto",
    dtype: str = "float32",
    mirror: bool = False,
) -> Observations:
    """Through `acdc_fast.Model.align` on the whole picture, with the detector. Earlier stages get the same boxes."""
    from acdc_fast.model import Model
    from acdc_fast.photo.coordinates import square_from_box

    whole = Model(weights, backend, dtype=dtype, resolution=resolution, mirror=mirror)
    counts = range(1, whole.config.stages)
    early = [Model(weights, backend, dtype=dtype, stages=k, resolution=resolution, mirror=mirror) for k in counts]
    indices = chosen(database, limit)
    annotations = [database.annotation(i) for i in indices]
    stages, count = [*early, whole], len(indices)
    points = [{m: np.full((count, whole.config.points[m], 2), np.nan) for m in whole.markups} for _ in stages]
    poses = [np.full((count, 3), np.nan) for _ in stages] if whole.config.has_pose else []
    spread = {m: np.full((count, whole.config.points[m]), np.nan) for m in whole.markups}
    side, light, mean_spreads = np.full(count, np.nan), np.full(count, np.nan), np.full((len(stages), count), np.nan)
    visible = np.full((count, whole.config.points["2d68"]), np.nan) if whole.weights.visibility else None
    for n, (index, annotation) in enumerate(
        zip(tqdm(indices, desc=database.name, leave=False, disable=None), annotations, strict=True)
    ):
        picture = database.colour(index)
        faces = whole.align(picture)
        k = matching_face(faces, annotation)
        if k is None:
            continue
        found = [*(m.align(picture, boxes=faces.boxes[k : k + 1]) for m in early), faces[k]]
        side[n] = square_from_box(faces.boxes[k : k + 1])[0, 2]
        left, top, right, bottom = np.maximum(faces.boxes[k], 0).astype(int)
        light[n] = picture[top : bottom + 1, left : right + 1].mean()
        for s, face in enumerate(found):
            for markup in whole.markups:
                points[s][markup][n] = face.landmarks[markup][0]
            mean_spreads[s, n] = np.concatenate([face.spread[m][0] for m in whole.markups]).mean() / side[n]
            if face.pose is not None:
                poses[s][n] = face.pose.yaw[0], face.pose.pitch[0], face.pose.roll[0]
        for markup in whole.markups:
            spread[markup][n] = faces.spread[markup][k] / side[n]
        if visible is not None:
            visible[n] = faces.visible["2d68"][k]
    return Observations(annotations, points, poses, spread, side, mean_spreads, light, visible)


def predict_crops(
    weights: Path, source: Source, root: Path, limit: int | None = None, how: Augmentation | None = None
) -> tuple[dict[str, np.ndarray], list[Crop]]:
    """Output of the network alone for at most ``limit`` faces, markup → (N, L, 2) crop units, and their N crops with
    labels, moved as the settings say. If ``how`` is given, every second face is augmented."""
    from acdc_fast.model import Model

    model, database = Model(replace(load_weights(weights), markups=())), open_source(source, root)
    indices, points, crops = chosen(database, limit), [], []
    for start in tqdm(range(0, len(indices), 32), desc=database.name, leave=False, disable=None):
        piece = [
            crop_face(
                moved(database[i], source), model.resolution, np.random.default_rng(i) if how and i % 2 else None, how
            )
            for i in indices[start : start + 32]
        ]
        points.append(model(np.stack([c.image for c in piece]).astype(np.float32) / 255).landmarks)
        crops += piece
    return {m: np.concatenate([p[m] for p in points]) for m in model.markups}, crops


def observe_source(
    weights: Path, source: Source, root: Path, limit: int, how: Augmentation
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Points and labels of at most ``limit`` faces, markup → (N, L, 2) crop units: the output of the network alone, and
    the labels, moved or left out (NaN) as the settings say. Every second face is augmented; in training all are."""
    points, crops = predict_crops(weights, source, root, limit, how)
    known = {m for c in crops for m in c.landmarks if m in points and source.markups.get(m, 1)}
    empty = {m: np.full(points[m].shape[1:], np.nan) for m in known}
    return points, {m: np.stack([c.landmarks.get(m, empty[m]) for c in crops]) for m in known}


def matching_face(faces: Faces, annotation: Annotation) -> int | None:
    """Index of the face that the labels belong to: its box contains their centre. Of several, the one with the nearest
    centre, in box sizes. None: missed."""
    centre = annotation.middle
    low, high = faces.boxes[:, :2], faces.boxes[:, 2:]
    inside = ((low <= centre) & (centre <= high)).all(1)
    if not inside.any():
        return None
    distance = np.linalg.norm((low + high) / 2 - centre, axis=1) / np.sqrt((high - low).prod(1))
    return int(np.argmin(np.where(inside, distance, np.inf)))
