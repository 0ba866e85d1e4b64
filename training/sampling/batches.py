"""Batches for the landmarks' network, as a function of seed and update number: the same after a resume, in any worker,
in any process. Batches for the detector are in `training.finding.batches`.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from acdc_fast.errors import AcdcError, InputError
from acdc_fast.stopping import stop_signals

from ..data import Chosen, Database, open_database
from ..data.sample import Annotation
from ..data.taught import labels_path, with_taught
from ..distributed import World
from ..schedule import phase_at
from ..settings import Settings, Source
from .augment import Crop, crop_face
from .targets import Targets

Labelled = TypeVar("Labelled", bound=Annotation)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Batch:
    """B faces of one database."""

    source: str
    image: Tensor  # (B, 1, S, S) uint8
    targets: Targets

    def to(self, device: torch.device, channels_last: bool = False) -> tuple[Tensor, Targets]:
        """Crops as floats in [0, 1], and their labels, on the device."""
        layout = torch.channels_last if channels_last else torch.contiguous_format
        image = self.image.to(device, non_blocking=True).float().div_(255).contiguous(memory_format=layout)
        return image, self.targets.map(lambda labels: labels.to(device, non_blocking=True))


def collate(crops: Sequence[Crop], source: str) -> Batch:
    """Crops of one database → a batch. A markup that some of the faces lack is left out."""
    markups = [m for m in crops[0].landmarks if all(m in c.landmarks for c in crops)]
    poses = [np.full(3, np.nan, np.float32) if c.pose is None else c.pose for c in crops]
    return Batch(
        source,
        torch.from_numpy(np.stack([c.image for c in crops])),
        Targets(
            {m: torch.from_numpy(np.stack([c.landmarks[m] for c in crops])) for m in markups},
            {m: torch.from_numpy(np.stack([c.weights[m] for c in crops])) for m in markups},
            torch.from_numpy(np.stack(poses)) if any(c.pose is not None for c in crops) else None,
            torch.tensor([float(c.wide) for c in crops]) if any(c.wide for c in crops) else None,
        ),
    )


_SPLIT = re.compile(r"(?P<split>[^\[\]]+)(\[(?P<start>\d*):(?P<stop>\d*)\])?")


def open_source(source: Source, root: Path, skip_broken: bool = False) -> Database:
    """Opens a database of the settings. A split may carry a range of faces: ``train[500:]``. Raises `InputError`."""
    match = _SPLIT.fullmatch(source.split)
    if match is None:
        raise InputError(f"split {source.split!r} of {source.name}: a name, or a name and a range as in train[500:]")
    database = open_database(source.name, root, match["split"], skip_broken)
    if match["start"] is not None:
        start, stop = (int(match[k]) if match[k] else None for k in ("start", "stop"))
        database = cast(Database, database[start:stop])
    if source.yaw:
        poses = [database.annotation(i).pose for i in range(len(database))]
        turned = [i for i, pose in enumerate(poses) if pose is not None and abs(pose[0]) >= source.yaw]
        database = Chosen(database, turned)
    if not len(database):
        far = f" with a yaw of {source.yaw:g}° or more" if source.yaw else ""
        raise InputError(f"{source.name}, split {source.split}: no faces{far}")
    if source.taught:
        path = labels_path(root, source.name, match["split"], source.taught)
        database = with_taught(database, path, source)
    return database


class Batches(Dataset[Batch]):
    """The batch of every update. The databases take turns; each pass over a database has a new order.

    ``batches[step]`` is this process's share of the batch of that update.
    """

    def __init__(self, settings: Settings, sources: Sequence[Database], world: World) -> None:
        self.settings, self.sources = settings, sources
        self.shares: Mapping[int, slice] = {p.batch: world.share(p.batch) for p in settings.phases}

    def __len__(self) -> int:
        return self.settings.updates

    def visits(self, step: int, source: int) -> int:
        """Number of updates before ``step`` with a batch from this source."""
        once = self.settings.round
        rounds, rest = divmod(step, len(once))
        return rounds * once.count(source) + once[:rest].count(source)

    def faces_before(self, step: int, source: int) -> int:
        """Number of faces of this source used before ``step``."""
        total, start = 0, 0
        for phase in self.settings.phases:
            end = min(start + phase.updates, step)
            if end > start:
                total += (self.visits(end, source) - self.visits(start, source)) * phase.batch
            start += phase.updates
        return total

    def faces(self, step: int) -> list[tuple[int, int]]:
        """(source, face) for each place of the global batch of an update."""
        once, seed = self.settings.round, self.settings.seed
        which = once[step % len(once)]
        first, size = self.faces_before(step, which), len(self.sources[which])
        places = (divmod(first + place, size) for place in range(phase_at(step, self.settings.phases).batch))
        return [(which, int(_shuffled(seed, which, sweep, size)[position])) for sweep, position in places]

    def __getitem__(self, step: int) -> Batch:
        settings, phase = self.settings, phase_at(step, self.settings.phases)
        crops, name = [], ""
        for place, (which, index) in list(enumerate(self.faces(step)))[self.shares[phase.batch]]:
            generator = np.random.default_rng((settings.seed, step, place))
            source = settings.databases[which]
            how = settings.augmentation(which)
            with named(self.sources[which], index):
                crop = crop_face(moved(self.sources[which][index], source), phase.resolution, generator, how)
            for markup, weight in source.markups.items():
                if markup in crop.weights:
                    crop.weights[markup][:] *= weight
            crops.append(crop)
            name = self.sources[which].name
        return collate(crops, name)

    def loader(self, start: int, end: int | None = None) -> Iterator[Batch]:
        """Batches of the updates from ``start`` up to ``end``, not included (None: to the last).

        Raises `InputError` for a face that cannot be used, whichever process met it.
        """
        workers, end = self.settings.workers, len(self) if end is None else end
        loader = DataLoader(
            Given(self), batch_size=None, sampler=range(start, end), num_workers=workers,
            worker_init_fn=start_worker, prefetch_factor=4 if workers else None, pin_memory=torch.cuda.is_available(),
        )  # fmt: skip
        for batch in loader:
            if isinstance(batch, InputError):
                raise batch
            yield batch


class Given(Dataset[Item | InputError]):
    """Items of a data set in which bad input is given, not raised: a worker's trace would come with one that is raised.

    Errors of ours keep their trace.
    """

    def __init__(self, items: Dataset[Item]) -> None:
        self.items = items

    def __getitem__(self, index: int) -> Item | InputError:
        try:
            return self.items[index]
        except InputError as error:
            return InputError(f"{error} (--skip-broken goes on without it)")


@contextmanager
def named(database: Database, index: int) -> Iterator[None]:
    """Names the face if an error comes that does not name it: one of ours, not of the input."""
    try:
        yield
    except (AcdcError, OSError):
        raise
    except Exception as error:
        name = database.annotation(index).name
        raise RuntimeError(f"face {index} of {database.name}, split {database.split} ({name})") from error


def moved(sample: Labelled, source: Source) -> Labelled:
    """The sample or annotation, with its points moved as the source says."""
    if not any(source.shift) and not source.shifts:
        return sample
    return replace(sample, landmarks={m: p + np.array(source.shift_of(m)) for m, p in sample.landmarks.items()})


_ORDER: dict[tuple[int, int, int, int], np.ndarray] = {}


def _shuffled(seed: int, source: int, sweep: int, size: int) -> np.ndarray:
    """Order of a database in one pass over it. The last few orders are kept."""
    key = (seed, source, sweep, size)
    if key not in _ORDER:
        if len(_ORDER) >= 16:
            _ORDER.clear()
        _ORDER[key] = np.random.default_rng((seed, source, sweep)).permutation(size)
    return _ORDER[key]


def start_worker(_: int) -> None:
    """Workers leave signals to the whole group (Ctrl-C, `timeout`) to the main process, and use one core each. They end
    when it closes their queues or is gone: torch's loop in each of them looks for both."""
    import cv2

    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
