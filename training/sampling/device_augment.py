"""The changes of `augment` for a whole batch at once, in PyTorch on the training device.

Geometry, kinds and strengths of change are the same, with random numbers from the device. Three things differ: the
faces of a batch share the factor of low resolution, JPEG is only its quantisation, and a crop is sampled from the
face's canvas (`device_dataset`) instead of its picture. Changes of grey values are in `device_photometry`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from acdc_fast.markups import MARKUPS

from ..settings import Augmentation
from .augment import ASIDE, LOOSE_SHIFT, LOOSE_SIDES, TURNS
from .device_dataset import NOMINAL, SIDE, ResidentFaces
from .device_photometry import Draws, photometry
from .targets import Targets


def crop_batch(
    resident: ResidentFaces, index: Tensor, size: int, how: Augmentation, seed: int
) -> tuple[Tensor, Targets]:
    """Resident faces → augmented crops (B, 1, S, S) uint8, and their labels in crop units."""
    draws = Draws(len(index), resident.images.device, seed)
    squares = resident.squares[index]
    rotation, grow = draws.normal() * how.rotation, draws.normal() * how.scale
    centre = squares[:, :2] + squares[:, 2:] * draws.normal(2) * how.shift
    side = squares[:, 2] * grow.exp()
    if how.loose:
        loose, low, high = draws.chance(how.loose), *(math.log(v) for v in LOOSE_SIDES)
        away = draws.uniform(2, low=-LOOSE_SHIFT, high=LOOSE_SHIFT) * side[:, None]
        centre = torch.where(loose[:, None], centre + away, centre)
        side = torch.where(loose, side * draws.uniform(low=low, high=high).exp(), side)
    wide = torch.zeros(len(index), dtype=torch.bool, device=index.device)
    if how.turned:
        wide = draws.chance(how.turned)
        quarters = draws.uniform(high=len(TURNS)).floor() + 1
        rotation = torch.where(wide, rotation + TURNS[0] * quarters, rotation)
    if how.aside:
        aside, way = draws.chance(how.aside) & ~wide, draws.uniform(high=2 * math.pi)
        far = side * draws.uniform(low=ASIDE[0], high=ASIDE[1])
        moved = centre + far[:, None] * torch.stack([way.cos(), way.sin()], 1)
        centre, wide = torch.where(aside[:, None], moved, centre), wide | aside
    mirrored = draws.chance(how.mirror)
    image = _sample(resident, index, centre, side, rotation, mirrored, size, how, draws)
    landmarks, weights = {}, {}
    for markup, points in resident.landmarks.items():
        table = _mirror(markup, index.device)
        own = _units(points[index], centre, side, rotation)
        flipped = torch.stack([1 - own[..., 0], own[..., 1]], 2)[:, table]
        own = torch.where(mirrored[:, None, None], flipped, own)
        weight = resident.weights[markup][index]
        weight = torch.where(mirrored[:, None], weight[:, table], weight)
        landmarks[markup], weights[markup] = own, weight * ((own > 0) & (own < 1)).all(2) * ~wide[:, None]
    pose = None
    if resident.pose is not None:
        pose = turned(resident.pose[index], -rotation)
        flipped = torch.stack([-pose[:, 0], pose[:, 1], -pose[:, 2]], 1)
        pose = torch.where(mirrored[:, None], flipped, pose).masked_fill(wide[:, None], math.nan)
    marks = wide.float() if how.turned or how.aside else None
    return photometry(image, how, draws), Targets(landmarks, weights, pose, marks)


# Constants for every batch are put on the device once: a copy from memory that is not pinned makes the host wait until
# the device has finished all its work.
@lru_cache(maxsize=32)
def _mirror(markup: str, device: torch.device) -> Tensor:
    return torch.as_tensor(MARKUPS[markup].mirror, device=device)


def _axes(side: Tensor, rotation: Tensor) -> Tensor:
    """(B, 2, 2): canvas pixels along x and y for one crop unit, as columns (`acdc_fast.photo.coordinates`)."""
    c, s = side * torch.deg2rad(rotation).cos(), side * torch.deg2rad(rotation).sin()
    return torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)


def _units(points: Tensor, centre: Tensor, side: Tensor, rotation: Tensor) -> Tensor:
    """(B, L, 2) canvas pixels → crop units. The axes are a rotation times ``side``, so the inverse is a transpose."""
    return (points - centre[:, None]) @ _axes(side, rotation) / side[:, None, None] ** 2 + 0.5


def _sample(
    resident: ResidentFaces, index: Tensor, centre: Tensor, side: Tensor, rotation: Tensor, mirrored: Tensor, size: int,
    how: Augmentation, draws: Draws,
) -> Tensor:  # fmt: skip
    """(B, 1, S, S) in [0, 1]: the square of each canvas. Outside its picture: the border goes on, or one grey."""
    step = max(1, round(NOMINAL / size))
    fine = size * step
    at = (torch.arange(fine, device=index.device) + 0.5) / fine - 0.5
    y, x = torch.meshgrid(at, at, indexing="ij")
    x = torch.where(mirrored[:, None, None], -x, x)
    places = torch.stack([x, y.expand_as(x)], 3).flatten(1, 2) @ _axes(side, rotation).mT + centre[:, None]
    low, high = _picture(resident.inside[index], centre, side, how, draws)
    held = torch.minimum(torch.maximum(places, low[:, None]), high[:, None])
    grid = ((held + 0.5) * (2 / SIDE) - 1).view(-1, fine, fine, 2)
    canvases = resident.images[index, None].float()
    image = F.grid_sample(canvases, grid, mode="bilinear", padding_mode="border", align_corners=False)
    out = ((places - held).abs() > 0.5).any(2).view_as(image)
    fill, constant = draws.uniform(1, 1, 1) * 255, draws.chance(0.5)[:, None, None, None]
    image = torch.where(out & constant, fill, image)
    return (F.avg_pool2d(image, step) if step > 1 else image) / 255


def _picture(inside: Tensor, centre: Tensor, side: Tensor, how: Augmentation, draws: Draws) -> tuple[Tensor, Tensor]:
    """(B, 2), (B, 2): first and last pixel of the picture. It may be cut close to the face (`augment.cut_close`)."""
    reach = (0.5 - draws.uniform(4, low=-0.1, high=0.2)) * side[:, None]
    low = torch.minimum(torch.maximum(centre - reach[:, :2], inside[:, :2]), inside[:, 2:] - 8)
    high = torch.maximum(torch.minimum(centre + reach[:, 2:], inside[:, 2:]), low + 8)
    cut = draws.chance(how.cut)[:, None]
    return torch.where(cut, low, inside[:, :2]), torch.where(cut, high, inside[:, 2:])


def turned(pose: Tensor, angle: Tensor) -> Tensor:
    """(B, 3) yaw, pitch, roll and (B,) degrees → pose in the rotated picture (`coordinates.turned_pose`)."""
    yaw, pitch, roll = torch.deg2rad(pose).unbind(1)
    matrix = _roll(roll) @ _yaw(yaw) @ _pitch(pitch) @ _roll(torch.deg2rad(angle))
    yaw = torch.asin((-matrix[:, 2, 0]).clamp(-1, 1))
    pitch = torch.atan2(matrix[:, 2, 1], matrix[:, 2, 2])
    roll = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])
    return torch.rad2deg(torch.stack([yaw, pitch, roll], 1))


def _rotation(angle: Tensor, a: int, b: int, sign: float) -> Tensor:
    c, s = angle.cos(), sign * angle.sin()
    matrix = torch.eye(3, device=angle.device, dtype=angle.dtype).repeat(len(angle), 1, 1)
    matrix[:, a, a], matrix[:, a, b], matrix[:, b, a], matrix[:, b, b] = c, -s, s, c
    return matrix


def _roll(angle: Tensor) -> Tensor:
    return _rotation(angle, 0, 1, 1.0)


def _yaw(angle: Tensor) -> Tensor:
    return _rotation(angle, 0, 2, -1.0)


def _pitch(angle: Tensor) -> Tensor:
    return _rotation(angle, 1, 2, 1.0)
