"""Options of `Model`, and the checks that they and a search for faces pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Literal, TypedDict

from .errors import InputError, shown
from .metadata import check_side, number_of
from .photo.detection import Search, SearchOptions


class ModelOptions(TypedDict, total=False):
    """The keywords of `Model`, for `Model.from_pretrained`; editors complete them."""

    backend: str
    device: str
    dtype: str
    threads: int | None
    stages: int | Literal["auto"] | None
    resolution: int | None
    max_batch: int | None
    markups: Sequence[str] | None
    mirror: bool


#: Threads of the CPU that one model may be asked for. Each has a stack, and a system has only so many.
MOST_THREADS = 4096


def check_count(option: str, count: int | None, most: int | None = None) -> None:
    """None, or a whole number from 1 to ``most``; anything else raises `InputError` naming the option."""
    if count is None:
        return
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InputError(f"{option} must be a positive number, not {shown(count)}")
    if most is not None and count > most:
        raise InputError(f"{option} must be a whole number from 1 to {most}, not {shown(count)}")


def check_switch(option: str, value: bool) -> bool:
    """True or False; anything else raises `InputError` naming the option."""
    if not isinstance(value, bool):
        raise InputError(f"{option} must be True or False, not {shown(value)}")
    return value


def check_resolution(resolution: int, name: str = "resolution", unit: int = 8) -> int:
    """Side of the crops, pixels: a multiple of ``unit`` (the config's ``crop_unit``), from four of them to 4096;
    anything else raises `InputError`."""
    whole = isinstance(resolution, int) and not isinstance(resolution, bool)
    return check_side(resolution if whole else 0, name, unit, resolution)


def check_markups(wanted: Sequence[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """The wanted markups in the order of the known ones; all if None. Raises `InputError` for none and for others."""
    if wanted is None:
        return known
    if isinstance(wanted, str) or not isinstance(wanted, Sequence) or not all(isinstance(m, str) for m in wanted):
        raise InputError(f"markups must be a list of names such as ['2d68'], not {shown(wanted)}")
    stray = [name for name in wanted if name not in known]
    if stray or not wanted:
        raise InputError(f"markups must name some of {', '.join(known)}, not {shown(stray[0] if stray else wanted)}")
    return tuple(name for name in known if name in wanted)


def enough_spread(card: Mapping[str, str]) -> float:
    """Mean spread of a face's maps, crop units, at which ``stages="auto"`` ends; from the weights' card."""
    value = number_of(card, "enough", "weights")
    if not value:
        raise InputError(
            "stages='auto' needs weights whose card says which spread is enough: "
            "'acdc-fast evaluate WEIGHTS --enough OUT' finds and writes it; or give a number of stages"
        )
    return value


def as_search(settings: SearchOptions) -> Search:
    """The settings of `Model.detect` as a `Search`. Raises `InputError` for one that does not exist."""
    known = [field.name for field in fields(Search)]
    for name in settings:
        if name not in known:
            raise InputError(f"unknown setting {name[:40]!r} of the search for faces; known: {', '.join(known)}")
    return Search(**settings)
