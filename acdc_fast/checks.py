"""Checks at the door that every engine shares, so that all say the same of bad crops. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import InputError


def check_crops(shape: Sequence[int], floating: bool) -> None:
    """Crops are (B, 1, S, S) floats, S a multiple of 8 from 32; anything else raises `InputError`."""
    if len(shape) != 4 or shape[1] != 1:
        raise InputError(f"crops must have shape (B, 1, S, S), not {tuple(shape)}")
    if shape[2] != shape[3] or shape[2] % 8 or shape[2] < 32:
        raise InputError(f"crops must be square with a side that is a multiple of 8 from 32, not {shape[2]}×{shape[3]}")
    if not floating:
        raise InputError("crops must be floating point in [0, 1]; divide 8-bit images by 255 first")


def check_stages(stages: int | None, available: int) -> int:
    """Number of stages to run: all where ``stages`` is None, else 1 … available; anything else raises `InputError`."""
    if stages is None:
        return available
    if isinstance(stages, bool) or not isinstance(stages, int) or not 1 <= stages <= available:
        raise InputError(f"stages must be a whole number from 1 to {available}, not {stages!r}")
    return stages
