"""Changes of grey values for a whole batch at once, in PyTorch on the training device; no point moves.

Kinds and strengths are those of `augment`. The faces of a batch share the factor of low resolution, and JPEG is only
its quantisation.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from ..settings import Augmentation


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
