"""Errors of a network on crops of a database: for reports during a run, and for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from acdc_fast.network import ACDC
from acdc_fast.types import Prediction

from .. import metrics
from ..data import Database
from ..sampling.augment import Crop, crop_face

Sheet = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """Output of the network for N faces, in crop units and degrees, and the labels of the same crops."""

    predicted: tuple[dict[str, np.ndarray], ...]  # one per stage: markup -> (N, L, 2)
    spread: dict[str, np.ndarray]  # markup -> (N, L) root of the covariance's trace, last stage
    pose: tuple[np.ndarray, ...]  # one per stage: (N, 3); empty without a pose head
    crops: Sequence[Crop]
    mask: np.ndarray  # (N', S, S) last Φ, for the first few faces only
    mean_spreads: np.ndarray  # (stages, N) mean spread of all maps after each stage, crop units

    def labels(self, markup: str) -> tuple[np.ndarray, np.ndarray]:
        """(N', L, 2) labels and the indices (N',) of the faces of which every point of this markup is known."""
        whole = [i for i, c in enumerate(self.crops) if markup in c.landmarks and _known(c.landmarks[markup])]
        known = np.array(whole, np.int64)
        points = np.array([self.crops[i].landmarks[markup] for i in known])
        return points, known

    def poses(self) -> tuple[np.ndarray, np.ndarray]:
        """(N', 3) labels and the indices (N',) of the faces that have a pose."""
        known = np.array([i for i, c in enumerate(self.crops) if c.pose is not None], np.int64)
        return np.array([self.crops[i].pose for i in known]).reshape(-1, 3), known


def _known(points: np.ndarray) -> bool:
    return bool(np.isfinite(points).all())


def _pieces(database: Database, indices: Sequence[int], resolution: int, batch: int) -> Iterator[list[Crop]]:
    for start in range(0, len(indices), batch):
        yield [crop_face(database[int(i)], resolution) for i in indices[start : start + batch]]


@torch.no_grad()
def predict(
    network: ACDC, database: Database, resolution: int, device: torch.device, limit: int | None = None, batch: int = 16
) -> Outcome:
    """Runs the network on plain crops (no augmentation) of at most ``limit`` faces, spread evenly over the database."""
    network.eval()
    count = len(database) if limit is None else min(limit, len(database))
    indices = np.linspace(0, len(database) - 1, count).round().astype(int).tolist()
    crops: list[Crop] = []
    found: list[Prediction] = []
    for piece in _pieces(database, indices, resolution, batch):
        image = torch.from_numpy(np.stack([c.image for c in piece])).to(device).float() / 255
        found.append(network(image, all_stages=True))
        crops += piece
    stages = range(len(found[0].stages or ()))

    def joined(values: Sequence[torch.Tensor]) -> np.ndarray:
        return torch.cat(list(values)).float().cpu().numpy()

    of_stage = [[p.stages[s] for p in found if p.stages is not None] for s in stages]
    order = network.config.order
    return Outcome(
        tuple({m: joined([p.landmarks[m] for p in ps]) for m in order} for ps in of_stage),
        {m: joined([(p.covariance[m][..., 0] + p.covariance[m][..., 2]).sqrt() for p in found]) for m in order},
        tuple(joined([p.pose for p in ps if p.pose is not None]) for ps in of_stage) if network.config.has_pose else (),
        crops,
        joined([found[0].mask[:, 0]]) if found[0].mask is not None else np.zeros((0, resolution, resolution)),
        np.stack([joined([_mean_spread(p) for p in ps]) for ps in of_stage]),
    )


def _mean_spread(prediction: Prediction) -> torch.Tensor:
    """(B,) mean spread over all maps, crop units: `stages="auto"` decides by it."""
    moments = torch.cat(list(prediction.covariance.values()), 1)
    return (moments[..., 0] + moments[..., 2]).sqrt().mean(1)


def normaliser(markup: str, points: np.ndarray) -> np.ndarray:
    """The paper's normaliser: distance of the outer eye corners (2D), √(width·height) of the points' box (3D, and
    markups without eye corners)."""
    return metrics.eye_distance(points, markup) if metrics.has_eye_line(markup) else metrics.box_size(points)


def validate(
    network: ACDC, database: Database, resolution: int, device: torch.device, limit: int = 256
) -> tuple[dict[str, float], Sheet]:
    """NME in % and pose MAE in degrees after each stage; crops, points and masks of a few faces for a picture."""
    outcome = predict(network, database, resolution, device, limit)
    values: dict[str, float] = {}
    for s, predicted in enumerate(outcome.predicted):
        for markup in network.config.order:
            target, known = outcome.labels(markup)
            if len(known):
                errors = metrics.nme(predicted[markup][known], target, normaliser(markup, target))
                values[f"{database.name}/{markup}/stage{s + 1}"] = 100 * float(errors.mean())
        target, known = outcome.poses()
        if len(known) and outcome.pose:
            errors = metrics.euler_errors(outcome.pose[s][known], target)
            values[f"{database.name}/pose/stage{s + 1}"] = float(errors.mean())
    few = slice(0, 8)
    images = np.stack([c.image[0] for c in outcome.crops[few]]).astype(np.float32) / 255
    labelled = next((m for m in network.config.order if len(outcome.labels(m)[1])), network.config.order[0])
    return values, (images, outcome.predicted[-1][labelled][few], outcome.mask[few])
