"""The changes of `augment` for a whole batch at once, in PyTorch on the training device.

Geometry, kinds and strengths of change are the same, with random numbers from the device. Three things differ: the
faces of a batch share the factor of low resolution, JPEG is only its quantisation, and a crop is sampled from the
face's canvas (`resident`) instead of its picture.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from acdc_fast.markups import MARKUPS

from ..settings import Augmentation
from .augment import LOOSE_SHIFT, LOOSE_SIDES
from .device_dataset import NOMINAL, SIDE, ResidentFaces
from .targets import Targets


class Draws:
    """Random numbers of one batch."""

    def __init__(self, count: int, device: torch.device, seed: int) -> None:
        self.count, self.device = count, device
        self.generator = torch.Generator(device).manual_seed(seed)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, *shape)"""
        values = torch.rand(self.count, *shape, generator=self.generator, device=self.device)
        return low + (high - low) * values

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.count, *shape, generator=self.generator, device=self.device)

    def chance(self, probability: float) -> Tensor:
        """(B,) bool"""
        return self.uniform() < probability


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
        landmarks[markup], weights[markup] = own, weight * ((own > 0) & (own < 1)).all(2)
    pose = None
    if resident.pose is not None:
        pose = turned(resident.pose[index], -rotation)
        flipped = torch.stack([-pose[:, 0], pose[:, 1], -pose[:, 2]], 1)
        pose = torch.where(mirrored[:, None], flipped, pose)
    return photometry(image, how, draws), Targets(landmarks, weights, pose)


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


def photometry(image: Tensor, how: Augmentation, draws: Draws) -> Tensor:
    """(B, 1, S, S) in [0, 1] → uint8: all changes of grey values; no point moves."""
    size = image.shape[-1]

    def some(probability: float, changed: Tensor) -> Tensor:
        return torch.where(draws.chance(probability)[:, None, None, None], changed, image)

    image = some(how.occluder, _occlude(image, draws))
    image = some(how.blur, _blur(image, draws.uniform(low=0.4, high=1.2) * size / 64))
    image = some(how.low_resolution, _coarse(image, draws))
    add, times, power = (draws.normal(1, 1, 1) * s for s in (how.brightness, how.contrast, how.gamma))
    image = ((image.clamp(0, 1) ** power.exp() - 0.5) * times.exp() + 0.5 + add).clamp(0, 1)
    image = some(how.noise, (image + draws.normal(1, size, size) * draws.uniform(1, 1, 1, low=1, high=10) / 255))
    image = image.clamp(0, 1)
    image = some(how.jpeg, _jpeg(image, draws.uniform(low=25, high=90)))
    return (image * 255).round().to(torch.uint8)


def _occlude(image: Tensor, draws: Draws) -> Tensor:
    """Covers part of each crop, as `augment.occlude` does."""
    size = image.shape[-1]
    at = (torch.arange(size, device=image.device) + 0.5) / size
    centre, half = draws.uniform(2, low=0.05, high=0.95), draws.uniform(2, low=0.04, high=0.25)
    angle = draws.uniform(high=math.pi)[:, None, None]
    x, y = at[None, None, :] - centre[:, 0, None, None], at[None, :, None] - centre[:, 1, None, None]
    u = (x * angle.cos() + y * angle.sin()) / half[:, 0, None, None]
    v = (y * angle.cos() - x * angle.sin()) / half[:, 1, None, None]
    round_ = draws.chance(0.5)[:, None, None]
    covered = torch.where(round_, u * u + v * v, torch.maximum(u.abs(), v.abs())) < 1
    kind = draws.uniform()[:, None, None, None]
    part = draws.uniform(2, low=size // 4, high=3 * size // 4).long()
    rows = (torch.arange(size, device=image.device) + part[:, :1]) % size
    columns = (torch.arange(size, device=image.device) + part[:, 1:]) % size
    faces = torch.arange(len(image), device=image.device)[:, None, None]
    other = image[faces, 0, rows[:, :, None], columns[:, None, :]][:, None]
    noise = draws.uniform(1, size, size)
    cover = torch.where(kind < 1 / 3, draws.uniform(1, 1, 1), torch.where(kind < 2 / 3, noise, other))
    return torch.where(covered[:, None], cover, image)


def _blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Blurs each picture with its own Gaussian."""
    size = image.shape[-1]
    reach = max(1, math.ceil(3 * 1.2 * size / 64))
    at = torch.arange(-reach, reach + 1, device=image.device)
    taps = torch.exp(-0.5 * (at / sigma[:, None]) ** 2)
    taps = taps / taps.sum(1, keepdim=True)
    one = image.transpose(0, 1)  # each picture becomes a channel
    one = F.pad(one, (reach, reach, reach, reach), mode="reflect")
    one = F.conv2d(one, taps[:, None, None, :], groups=len(image))
    return F.conv2d(one, taps[:, None, :, None], groups=len(image)).transpose(0, 1)


def _coarse(image: Tensor, draws: Draws) -> Tensor:
    """Down to 0.3–0.8 of the size and up again; one factor for the batch."""
    size = image.shape[-1]
    factor = torch.rand((), generator=torch.Generator().manual_seed(draws.generator.initial_seed())).item()
    there_and_back = _resampled(size, max(8, round(size * (0.3 + 0.5 * factor))), image.device)
    return there_and_back @ image @ there_and_back.T


@lru_cache(maxsize=128)
def _resampled(size: int, small: int, device: torch.device) -> Tensor:
    """(S, S) matrix: averages a column down to ``small`` pixels and interpolates it up again."""
    columns = torch.eye(size)[None]
    return F.interpolate(F.interpolate(columns, small, mode="area"), size, mode="linear")[0].T.to(device)


#: The luminance table of the JPEG standard (ITU T.81, annex K), at quality 50.
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


def _jpeg(image: Tensor, quality: Tensor) -> Tensor:
    """Quantises the cosines of 8×8 blocks as a JPEG of each picture's quality (1 to 100). S: a multiple of 8."""
    b, _, size, _ = image.shape
    cosines, table = _transform(image.device)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    steps = (table * scale[:, None, None]).round().clamp(1, 255)[:, None, None]
    blocks = (image * 255 - 128).view(b, size // 8, 8, size // 8, 8).transpose(2, 3)
    coded = (cosines @ blocks @ cosines.T / steps).round() * steps
    decoded = cosines.T @ coded @ cosines
    return ((decoded + 128) / 255).transpose(2, 3).reshape(image.shape).clamp(0, 1)


@lru_cache(maxsize=8)
def _transform(device: torch.device) -> tuple[Tensor, Tensor]:
    """(8, 8) orthonormal cosines, one frequency in each row, and the (8, 8) table."""
    at = torch.arange(8.0)
    cosines = torch.cos((2 * at + 1) * at[:, None] * math.pi / 16) / 2
    cosines[0] /= math.sqrt(2)
    return cosines.to(device), torch.tensor(_LUMINANCE, dtype=torch.float32).view(8, 8).to(device)
