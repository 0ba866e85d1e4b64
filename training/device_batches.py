"""Batches that the device makes itself, from faces that it keeps: the same faces in the same order as `Batches`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .batches import Batches
from .data import Database
from .device_augment import crop_batch
from .distributed import World
from .losses import Targets
from .schedule import phase_at
from .settings import Settings
from .shelf import fill_shelf


@dataclass(frozen=True)
class DeviceBatch:
    """B augmented faces of one database, where they are needed."""

    source: str
    image: Tensor  # (B, 1, S, S) in [0, 1]
    targets: Targets

    def to(self, device: torch.device, channels_last: bool = False) -> tuple[Tensor, Targets]:
        """As `Batch.to`."""
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return self.image.to(device, memory_format=layout), self.targets


class DeviceBatches(Batches):
    """Made from the seed and the update's number, as `Batches` are; other random numbers than theirs."""

    def __init__(self, settings: Settings, sources: Sequence[Database], world: World) -> None:
        super().__init__(settings, sources, world)
        self.device = world.device
        self.shelves = [
            fill_shelf(database, source, settings.workers).to(world.device)
            for database, source in zip(sources, settings.databases, strict=True)
        ]

    def made(self, step: int) -> DeviceBatch:
        """This process's share of the batch of an update."""
        settings, phase = self.settings, phase_at(step, self.settings.phases)
        share = self.shares[phase.batch]
        faces = self.faces(step)[share]
        shelf = self.shelves[faces[0][0]]
        index = torch.tensor([face for _, face in faces]).to(self.device, non_blocking=True)
        seed = int(np.random.SeedSequence((settings.seed, step, share.start)).generate_state(1, np.uint64)[0] >> 1)
        image, targets = crop_batch(shelf, index, phase.resolution, settings.augment, seed)
        return DeviceBatch(shelf.name, image, targets)

    def loader(self, start: int, end: int | None = None) -> Iterator[DeviceBatch]:  # type: ignore[override]
        """Batches of the updates from ``start`` to ``end`` (None: the last)."""
        for step in range(start, len(self) if end is None else end):
            yield self.made(step)
