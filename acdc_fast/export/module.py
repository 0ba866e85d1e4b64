"""The network and its readout as one torch module, which gives what `Model.align` gives: refined points, pose,
confidence, presence and visibility.

The sums are those of `acdc_fast.readout`, in float32 tensors, because every runtime has float32. `readout` computes
shapes in float64; the difference stays below 1e-5 crop units and 0.001 degrees, and a test holds it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..markups import MARKUPS, first_of
from ..metadata import number_of
from ..network import ACDC
from ..photo import coordinates as geometry
from ..readout import head_pose, presence, refinement, second_look, visibility
from ..readout.confidence import UNCALIBRATED, of_points
from ..weights import Weights


class Network(nn.Module):
    """The network's own answer, as a tuple in the order of ``outputs``."""

    def __init__(self, network: ACDC, markups: Sequence[str]) -> None:
        super().__init__()
        self.network, self.markups = network, tuple(markups)
        moments = [f"{kind}_{m}" for kind in ("landmarks", "covariance") for m in self.markups]
        self.outputs = [*moments, *(["pose"] if network.config.has_pose else []), "mask"]

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        p = self.network(crops)
        moments = [p.landmarks[m] for m in self.markups] + [p.covariance[m] for m in self.markups]
        return *moments, *([] if p.pose is None else [p.pose]), p.mask


class Aligned(nn.Module):
    """What `Model.align` makes of a crop, as a tuple in the order of ``outputs``."""

    fit_mean: Tensor
    fit_basis: Tensor
    turn_mean: Tensor
    turn_basis: Tensor
    turn_pose: Tensor
    sight_scale: Tensor
    sure: Tensor  # (3, L), rows as `readout.confidence` takes them

    def __init__(self, network: ACDC, weights: Weights) -> None:
        super().__init__()
        self.network, self.markups = network, weights.handed_out
        self.fit = weights.refinement
        self.usual = number_of(weights.card, "narrowest_spread", "weights")
        self.limit = number_of(weights.card, "presence", "weights") or presence.USUAL_LIMIT
        if self.fit is not None:
            self._keep("fit", self.fit.mean, self.fit.basis, **self.fit.numbers)
        self.turned = weights.pose is not None and network.config.has_pose
        if weights.pose is not None:
            self._keep("turn", weights.pose.mean, weights.pose.basis, pose=weights.pose.numbers)
        points = network.config.points
        sure = [of_points(weights.calibration.get(m, UNCALIBRATED), n) for m, n in points.items()]
        self.register_buffer("sure", torch.from_numpy(np.concatenate(sure, 1)).float())
        #: Markups of which it is told whether points are in sight.
        self.seen: list[str] = []
        if weights.visibility and self.fit is not None and network.config.has_pose:
            self.register_buffer("sight_scale", torch.from_numpy(np.array(weights.visibility.scale, np.float32)))
            self.seen = [m for m in self.markups if m in weights.visibility.numbers]
            for m in self.seen:
                numbers = np.array(weights.visibility.numbers[m], np.float32)
                self.register_buffer(f"sight_{m}", torch.from_numpy(numbers))
        #: Markup that says which crop would fit; None where none of the usual ones is there.
        self.five = first_of(points, second_look.MARKUPS, with_five=True)
        moments = [f"{kind}_{m}" for kind in ("landmarks", "covariance", "confidence") for m in self.markups]
        moments += [f"visible_{m}" for m in self.seen]
        self.outputs = [*moments, *(["pose"] if network.config.has_pose else []), *(["presence"] if self.usual else []),
                        *(["square"] if self.five else []), "mask"]  # fmt: skip

    def _keep(self, kind: str, mean: np.ndarray, basis: np.ndarray, **numbers: np.ndarray) -> None:
        for name, value in {"mean": mean, "basis": basis, **numbers}.items():
            self.register_buffer(f"{kind}_{name}", torch.from_numpy(np.array(value, np.float32)))

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        p = self.network(crops)
        landmarks = dict(p.landmarks)
        if self.fit is not None:
            landmarks |= self._refined(torch.cat([landmarks[m] for m in self.network.config.order], 1), landmarks)
        pose = self._pose(p.pose, landmarks) if self.turned else p.pose
        spreads = {m: (c[..., 0] + c[..., 2]).clamp(min=0).sqrt() for m, c in p.covariance.items()}
        sure = dict(zip(spreads, self._confidence(torch.cat([*spreads.values()], 1), [*spreads.values()]), strict=True))
        parts = [part[m] for part in (landmarks, p.covariance, sure) for m in self.markups]
        if self.seen and pose is not None:
            parts += self._visible(landmarks, spreads, pose)
        narrowest = torch.stack([spread.mean(1) for spread in spreads.values()], 1).amin(1)
        multiple = (narrowest / max(self.usual, 1e-9) / self.limit).clamp(1e-12, 1e3)
        return (
            *parts,
            *([] if pose is None else [pose]),
            *([1 / (1 + multiple**presence.POWER)] if self.usual else []),
            *([_square(landmarks[self.five], self.five)] if self.five else []),
            p.mask,
        )

    def _refined(self, points: Tensor, landmarks: dict[str, Tensor]) -> dict[str, Tensor]:
        """`readout.refinement.refined`."""
        assert self.fit is not None
        shape, size = _shape_and_size(points)
        inputs = ((shape - self.fit_mean) @ self.fit_basis.T).clamp(-refinement.REACH, refinement.REACH)
        known = _polynomial(inputs, refinement.SQUARED)
        moved = {m: (known @ getattr(self, f"fit_{m}")).unflatten(1, (-1, 2)) * size for m in self.fit.numbers}
        return {m: landmarks[m] + by for m, by in moved.items()}

    def _pose(self, pose: Tensor, landmarks: dict[str, Tensor]) -> Tensor:
        """`readout.head_pose.corrected`."""
        shape, _ = _shape_and_size(landmarks[self.network.config.solid[0]])
        inputs = torch.cat([pose / 45, (shape - self.turn_mean) @ self.turn_basis.T], 1)
        terms = _polynomial(inputs.clamp(-head_pose.REACH, head_pose.REACH), head_pose.INPUTS)
        return pose + terms @ self.turn_pose

    def _visible(self, landmarks: dict[str, Tensor], spreads: dict[str, Tensor], pose: Tensor) -> list[Tensor]:
        """`readout.visibility.terms` and `visible`."""
        order = self.network.config.order
        shape, size = _shape_and_size(torch.cat([landmarks[m] for m in order], 1))
        components = (shape - self.fit_mean) @ self.fit_basis[: visibility.COMPONENTS].T
        wide = torch.cat([spreads[m] for m in order], 1) / size[:, 0]
        turned = (pose[:, :2] / visibility.UNIT).clamp(-visibility.FARTHEST, visibility.FARTHEST)
        yaw, pitch = turned[:, :1], turned[:, 1:]
        known = [torch.ones_like(yaw), yaw, pitch, yaw * yaw, yaw * pitch, pitch * pitch]
        known += [wide.clamp(min=visibility.LEAST).log(), components.clamp(-refinement.REACH, refinement.REACH)]
        away, slope, offset = self.sight_scale.unbind()
        chances = []
        for markup in self.seen:
            covered, gone = (torch.cat(known, 1) @ getattr(self, f"sight_{markup}")).chunk(2, 1)
            gone = gone + away
            most = torch.maximum(covered, gone)
            either = most + (1 + (torch.minimum(covered, gone) - most).exp()).log()
            chances.append(torch.sigmoid(-(slope * either + offset).clamp(-50, 50)))
        return chances

    def _confidence(self, spread: Tensor, of: list[Tensor]) -> tuple[Tensor, ...]:
        """`readout.confidence.confidence`, a part for each markup."""
        own, whole, offset = self.sure
        logs = own * spread.clamp(min=1e-6).log() + whole * spread.mean(1, keepdim=True).clamp(min=1e-6).log() + offset
        return torch.split(torch.sigmoid(-logs.clamp(-50, 50)), [each.shape[1] for each in of], 1)


def _shape_and_size(points: Tensor) -> tuple[Tensor, Tensor]:
    """`readout.shape_model.shape_and_size`: (B, L, 2) → (B, 2L) and (B, 1, 1)."""
    centred = points - points.mean(1, keepdim=True)
    size = centred.square().mean((1, 2), keepdim=True).sqrt() + 1e-9
    return (centred / size).flatten(1), size


def _polynomial(inputs: Tensor, squared: int) -> Tensor:
    """`readout.shape_model.polynomial`: (B, K) → (B, 1 + K + squared·(squared + 1)/2)."""
    first, second = (torch.from_numpy(index) for index in np.triu_indices(squared))
    return torch.cat([torch.ones_like(inputs[:, :1]), inputs, inputs[:, first] * inputs[:, second]], 1)


def _square(points: Tensor, markup: str) -> Tensor:
    """`photo.coordinates.square_from_points` → (B, 3): centre and side of the crop that the points ask for."""
    groups = MARKUPS[markup].five
    assert groups is not None  # the usual markups have them
    five = torch.stack([points[:, list(group)].mean(1) for group in groups], 1)
    eyes, nose, mouth = five[:, :2].mean(1), five[:, 2], five[:, 3:].mean(1)
    across, down = (five[:, 1] - five[:, 0]).square().sum(1), (mouth - eyes).square().sum(1)
    size = geometry.FACE_SCALE * (across + down).sqrt()
    w, h = size / geometry.FACE_ASPECT**0.5, size * geometry.FACE_ASPECT**0.5
    x = (eyes + mouth)[:, 0] - nose[:, 0] + geometry.BOX_SHIFT[0] * w
    y = five[:, :, 1].mean(1) - geometry.FACE_LIFT * size + geometry.BOX_SHIFT[1] * h
    return torch.stack([x, y, geometry.BOX_SCALE * size], 1)
