"""The settings of a training run as one frozen object, read strictly from YAML: errors name the file and the field."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from acdc_fast.config import ACDCConfig
from acdc_fast.errors import shown
from acdc_fast.markup_tables import read_tables, registered, table_of
from acdc_fast.markups import MARKUPS, Markup
from acdc_fast.metadata import check_card

from . import limits
from .limits import check_within
from .schedule import Phase
from .strict_yaml import build, read_values


@dataclass(frozen=True)
class Augmentation:
    """Strength of each change. σ are standard deviations; the other values are probabilities that the change is made.

    The detector's boxes scatter about the face by 0.06 in log(side) and by 0.025 of the crop's side
    (`acdc_fast.photo.crop_convention` says how that was measured). The defaults of ``scale`` and ``shift`` are about
    two and three times as much. The other defaults are our choice.
    """

    rotation: float = 20.0  # σ, degrees in the image plane
    scale: float = 0.12  # σ of log(side)
    shift: float = 0.07  # σ of each coordinate of the centre, in sides
    loose: float = 0.0  # a loose box: 0.6 to 2 times as wide, up to 0.3 of a side away, at random
    mirror: float = 0.5
    cut: float = 0.4  # the picture ends within the crop, as in pictures that are cut close to a face
    occluder: float = 0.35
    blur: float = 0.2
    low_resolution: float = 0.2
    brightness: float = 0.12  # σ, of the full range
    contrast: float = 0.25  # σ of log(contrast)
    gamma: float = 0.25  # σ of log(gamma)
    noise: float = 0.25
    jpeg: float = 0.2
    turned: float = 0.0  # the face lies on its side or upside down, and only `Loss.wide` learns from it
    aside: float = 0.0  # the crop lies beside the face, and only `Loss.wide` learns from it

    def __post_init__(self) -> None:
        check_within(self, {item.name: limits.AUGMENTATION.get(item.name, (0, 1)) for item in fields(self)})


@dataclass(frozen=True)
class Source:
    """One database of the run."""

    name: str
    split: str = "train"
    #: Number of batches in each round of the databases.
    batches: int = 1
    #: x, y in pixels of the picture, added to its points. For labels that lie to one side of the features, as MTFL's
    #: and the frames' do (docs/notes/training-log.md, entry 10): they contradict their own mirror images.
    shift: tuple[float, float] = (0.0, 0.0)
    #: The same for single markups, in place of ``shift``: AFLW's five points lie to one side, its 68 do not.
    shifts: dict[str, tuple[float, float]] = field(default_factory=dict)
    #: Only faces turned to a side by this many degrees of yaw or more. 0: all. As a second source of the same database
    #: it lets a run see large yaws more often than they come.
    yaw: float = 0.0
    #: Weights of its labels by markup, times the loss's own. Absent: 1. 0 leaves the labels out.
    markups: dict[str, float] = field(default_factory=dict)
    #: A teacher gives labels for markups that the database lacks (`teach`). The stem of its weights file's name.
    taught: str | None = None
    #: Augmentation of its faces. None: as the run's. A value left out is `Augmentation`'s default, not the run's.
    augment: Augmentation | None = None

    def __post_init__(self) -> None:
        check_within(self, limits.SOURCE)

    def shift_of(self, markup: str) -> tuple[float, float]:
        """x, y in pixels that are added to the points of a markup."""
        return self.shifts.get(markup, self.shift)


@dataclass(frozen=True)
class Optimiser:
    """Adam, or Muon and Adam, with schedule, clipping and averaging."""

    rate: float = 5e-4  # paper §III-D
    beta1: float = 0.9  # paper §III-D
    beta2: float = 0.999
    power: float = 0.9  # exponent of the polynomial annealing, paper §III-D
    warmup: int = 0  # updates of linear warm-up, ours
    clip: float | None = None  # largest norm of the gradient, ours
    ema: float | None = None  # decay of the averaged weights, ours
    muon_rate: float | None = None  # Muon's rate for convolutions, the rest by Adam; None: Adam for all; ours

    def __post_init__(self) -> None:
        check_within(self, limits.OPTIMISER)


@dataclass(frozen=True)
class Loss:
    """Weights of the terms of the loss."""

    pose: float = 1.0
    stages: tuple[float, ...] | None = None  # None: the paper's ⅛, ¼, ½, 1 (§III-C); heavier early ones are ours
    markups: dict[str, float] = field(default_factory=dict)  # 1 where absent
    spread: float = 0.0  # weight of `losses.spread_loss`, which makes a map as wide as its point's usual error; ours
    wide: float = 0.0  # weight of `losses.wide_loss`, which asks for wide maps where no upright face is; ours

    def __post_init__(self) -> None:
        check_within(self, limits.LOSS)


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run. Two runs with equal settings and data give equal weights."""

    databases: tuple[Source, ...]
    phases: tuple[Phase, ...]
    markups: tuple[Markup, ...] = ()  # those that the package lacks (docs/guides/own-markup.md)
    network: ACDCConfig = field(default_factory=ACDCConfig)
    optimiser: Optimiser = field(default_factory=Optimiser)
    loss: Loss = field(default_factory=Loss)
    augment: Augmentation = field(default_factory=Augmentation)
    validation: tuple[Source, ...] = ()
    seed: int = 0
    #: Local SGD (Stich, ICLR 2019): each process trains on its share of the batch with its own batch norm. After this
    #: many updates the weights are averaged. None: one batch norm, and gradients averaged at every update.
    local: int | None = None
    #: Batch norm as in inference: means and variances stay as the run starts. So training sees the network that users
    #: get, for every database. For the last updates of a training, from trained weights; ours.
    fixed_norm: bool = False
    #: The U-Nets of this many first stages stay as they are. They get no gradient, which saves time; ours.
    held: int = 0
    bf16: bool = False  # autocast of the convolutions
    channels_last: bool = True
    workers: int = 1  # processes that prepare batches
    #: The device keeps all faces and augments them itself (`sampling/device_dataset.py`): where workers are too slow.
    on_device: bool = False
    threads: int | None = None  # of PyTorch on the CPU; None: PyTorch decides
    checkpoint_minutes: float = 10.0
    log_every: int = 50  # updates
    validate_every: int = 2000  # updates; writes validation errors and pictures
    #: Early stopping: the run ends after this many validations in a row without a smaller error than before. The run
    #: then keeps the weights with the smallest error. None: the run goes on to its last update and keeps those weights.
    patience: int | None = None
    card: dict[str, str] = field(default_factory=dict)  # facts that the weights file carries: licence, data, …

    def __post_init__(self) -> None:
        for name in ("databases", "phases"):
            if not getattr(self, name):
                raise ValueError(f"{name} must name at least one")
        check_within(self, limits.SETTINGS)
        check_card(self.card, "card", self.network.crop_unit)  # else it is refused when the trained weights are written
        for i, phase in enumerate(self.phases):
            check_within(phase, limits.PHASE, f"phases[{i}].")
            unit = self.network.crop_unit
            if phase.resolution < 4 * unit or phase.resolution % unit:
                wanted = f"a multiple of {unit} from {4 * unit}"
                raise ValueError(f"phases[{i}].resolution must be {wanted}, not {phase.resolution}")
        if self.patience is not None and not self.validation:
            raise ValueError("patience needs validation: faces that no update sees")
        if not 0 <= self.held < self.network.stages:
            raise ValueError(f"held must be 0 … {self.network.stages - 1}, not {self.held}")
        if self.loss.stages is not None and len(self.loss.stages) != self.network.stages:
            raise ValueError(f"loss.stages has {len(self.loss.stages)} weights for {self.network.stages} stages")
        for i, source in enumerate(self.databases):
            if unknown := set(source.shifts) - set(MARKUPS):
                known = ", ".join(MARKUPS)
                raise ValueError(f"databases[{i}].shifts names {shown(sorted(unknown)[0])}; known: {known}")
        weights = {"loss.markups": self.loss.markups}
        weights |= {f"databases[{i}].markups": s.markups for i, s in enumerate(self.databases)}
        for name, given in weights.items():
            stray = set(given) - set(self.network.markups) - trained_by_means(self.network.markups)
            if stray:
                raise ValueError(f"{name} names {sorted(stray)[0]!r}, which network.markups lacks")

    def augmentation(self, source: int) -> Augmentation:
        """Augmentation of the faces of ``databases[source]``."""
        return self.databases[source].augment or self.augment

    @property
    def updates(self) -> int:
        """Number of updates of the whole run."""
        return sum(phase.updates for phase in self.phases)

    @property
    def round(self) -> tuple[int, ...]:
        """One round of the databases, as indices into `databases`. Each database's batches are evenly spaced in it."""
        places = [((j + 0.5) / s.batches, i) for i, s in enumerate(self.databases) for j in range(s.batches)]
        return tuple(i for _, i in sorted(places))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in YAML and checkpoints."""
        values = asdict(self) | {"markups": [table_of(markup) for markup in self.markups]}
        return typing.cast("dict[str, Any]", _plain(values))


def trained_by_means(markups: Iterable[str]) -> set[str]:
    """Markups without maps of their own: their labels train those of ``markups`` (`acdc_fast.markups.Markup.means`)."""
    return {m.name for m in MARKUPS.values() if m.means and m.means[0] in markups}


def read_settings(path: Path) -> Settings:
    """The settings' own markups are known from then on. Raises `InputError` with file, field and what is wrong."""
    values = read_values(path)
    if not isinstance(values, Mapping) or not values.get("markups"):
        return build(Settings, values, str(path))
    own = read_tables(values["markups"], f"{path}: markups")
    with registered(own, str(path)):
        return build(Settings, {**values, "markups": own}, str(path))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
