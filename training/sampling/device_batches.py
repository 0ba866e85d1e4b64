"""Batches made on the device from faces that it keeps: the same faces in the same order as `Batches`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..data import Database
from ..distributed import World
from ..schedule import phase_at
from ..settings import Settings
from .batches import Batch, Batches
from .device_augment import crop_batch
from .device_dataset import make_resident


class DeviceBatches(Batches):
    """Depends only on seed and update number, as `Batches` does, but the random numbers are others."""

    def __init__(self, settings: Settings, sources: Sequence[Database], world: World) -> None:
        super().__init__(settings, sources, world)
        self.device = world.device
        self.resident_sets = [
            make_resident(database, source, settings.workers).to(world.device)
            for database, source in zip(sources, settings.databases, strict=True)
        ]

    def __getitem__(self, step: int) -> Batch:
        settings, phase = self.settings, phase_at(step, self.settings.phases)
        share = self.shares[phase.batch]
        faces = self.faces(step)[share]
        which = faces[0][0]
        resident = self.resident_sets[which]
        index = torch.tensor([face for _, face in faces])
        if self.device.type == "cuda":  # pinned, so that the host need not wait (`device_augment`)
            index = index.pin_memory()
        index = index.to(self.device, non_blocking=True)
        seed = int(np.random.SeedSequence((settings.seed, step, share.start)).generate_state(1, np.uint64)[0] >> 1)
        image, targets = crop_batch(resident, index, phase.resolution, settings.augmentation(which), seed)
        return Batch(resident.name, image, targets)

    def loader(self, start: int, end: int | None = None) -> Iterator[Batch]:
        """Batches of the updates from ``start`` up to ``end``, not included (None: to the last)."""
        for step in range(start, len(self) if end is None else end):
            yield self[step]
