"""What the numbers of the settings may be. Beyond it a run would fail after minutes, or learn nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from acdc_fast.errors import shown
from acdc_fast.metadata import LARGEST
from acdc_fast.options import MOST_THREADS

Range = tuple[float, float]

#: Counts of updates and of faces in a batch: numbers of numpy have an end.
MANY = 1_000_000_000
SHARE: Range = (0, 0.999999)
WEIGHT: Range = (0, 1e6)
#: Names of fields, and the least and the largest value of each. Of lists and mappings, each value lies there.
AUGMENTATION: Mapping[str, Range] = {
    "rotation": (0, 360), "scale": (0, 2), "shift": (0, 2), "brightness": (0, 10), "contrast": (0, 10),
    "gamma": (0, 10),
}  # fmt: skip
PHASE: Mapping[str, Range] = {"updates": (1, MANY), "resolution": (1, LARGEST), "batch": (1, 1_000_000)}
SOURCE: Mapping[str, Range] = {
    "batches": (1, 10_000), "shift": (-1000, 1000), "shifts": (-1000, 1000), "yaw": (0, 180), "markups": WEIGHT,
}  # fmt: skip
OPTIMISER: Mapping[str, Range] = {
    "rate": (0, 1000), "muon_rate": (0, 1000), "beta1": SHARE, "beta2": SHARE, "ema": SHARE, "power": (0, 100),
    "warmup": (0, MANY), "clip": (1e-9, 1e9),
}  # fmt: skip
LOSS: Mapping[str, Range] = {name: WEIGHT for name in ("pose", "stages", "markups", "spread", "wide")}
SETTINGS: Mapping[str, Range] = {
    "seed": (0, (1 << 63) - 1), "local": (1, MANY), "workers": (0, 1024), "threads": (0, MOST_THREADS),
    "checkpoint_minutes": (0, 1e6), "log_every": (1, MANY), "validate_every": (1, MANY), "patience": (1, MANY),
}  # fmt: skip


def check_within(values: object, limits: Mapping[str, Range], where: str = "") -> None:
    """Raises `ValueError`, which names the field, for one of ``values``' fields that lies beyond its limits."""
    for name, (low, high) in limits.items():
        for place, value in _numbers(getattr(values, name), f"{where}{name}"):
            if not low <= value <= high:
                raise ValueError(f"{place} must lie in {low:,g} … {high:,g}, not {shown(value)}")


def _numbers(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _numbers(inner, f"{place}[{number}]")
    elif value is not None:
        yield place, value
