"""Checks of crops and stages that all engines share, so that all give the same errors. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from .errors import InputError
from .files import check_place


def check_crops(shape: Sequence[int], floating: bool, unit: int = 8) -> None:
    """Crops are (B, 1, S, S) floats, S a multiple of ``unit`` (the config's ``crop_unit``), four of them at least;
    anything else raises `InputError`."""
    if len(shape) != 4 or shape[1] != 1:
        raise InputError(f"crops must have shape (B, 1, S, S), not {tuple(shape)}")
    if shape[2] != shape[3] or shape[2] % unit or shape[2] < 4 * unit:
        wanted = f"a side that is a multiple of {unit} from {4 * unit}"
        raise InputError(f"crops must be square with {wanted}, not {shape[2]}×{shape[3]}")
    if not floating:
        raise InputError("crops must be floating point in [0, 1]; divide 8-bit images by 255 first")


def check_stages(stages: int | None, available: int) -> int:
    """Number of stages to run: all where ``stages`` is None, else 1 … available; anything else raises `InputError`."""
    if stages is None:
        return available
    if isinstance(stages, bool) or not isinstance(stages, int) or not 1 <= stages <= available:
        raise InputError(f"stages must be a whole number from 1 to {available}, not {stages!r}")
    return stages


#: Values of a crop lie in [0, 1]; interpolation and augmentation may overshoot, 8-bit values are refused.
LOWEST, HIGHEST = -1.0, 2.0


def check_values(low: np.ndarray, high: np.ndarray) -> None:
    """(B,) least and greatest value of each crop; raises `InputError` naming the first that is no crop in [0, 1]."""
    bad = ~((low >= LOWEST) & (high <= HIGHEST))  # NaN is neither
    if not bad.any():
        return
    i = int(bad.argmax())
    if not np.isfinite(low[i]) or not np.isfinite(high[i]):
        raise InputError(f"crop {i} of the batch contains a NaN or an infinity")
    wrong = f"values from {low[i]:.4g} to {high[i]:.4g}"
    raise InputError(f"crop {i} of the batch has {wrong}; crops are grey in [0, 1]: divide 8-bit values by 255")


def check_finite(finite: np.ndarray, what: str = "crop") -> None:
    """(B,) whether all results of a crop are finite; raises `InputError` naming the first of which they are not."""
    if not finite.all():
        wrong = "the network's results are not finite: its weights hold numbers that are far too large"
        raise InputError(f"{what} {int(finite.argmin())}: {wrong}")


def check_free(places: Iterable[Path | None], overwrite: bool) -> None:
    """Raises `InputError` for a place where no file can go (`files.check_place`), and where a file with something in it
    stands, unless it may be replaced."""
    wanted = [place for place in places if place is not None]
    for place in wanted:
        check_place(place)
    taken = [] if overwrite else [place for place in wanted if place.is_file() and place.stat().st_size]
    if taken:
        more = f", and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise InputError(f"{taken[0]}{more}: is there already; --overwrite replaces it, or choose another output")
