"""Arrays of what is fitted after training (refinement, head pose, visibility, upright), by their names in a file."""

from __future__ import annotations

import numpy as np

from .config import ACDCConfig
from .errors import InputError
from .network_arrays import Arrays
from .readout.head_pose import Readout
from .readout.orientation import Upright
from .readout.refinement import Refinement
from .readout.visibility import COMPONENTS, Visibility

#: Arrays of a `Readout` by name.
READOUT = ("mean", "basis", "numbers")
#: A `Refinement`'s arrays for one markup are named this and the markup.
REFINEMENT_NUMBERS = "refinement.numbers."
#: The same of a `Visibility`.
VISIBILITY_NUMBERS = "visibility.numbers."


def refinement_arrays(refinement: Refinement | None) -> Arrays:
    """float32, by their names in a file."""
    if refinement is None:
        return {}
    arrays = {"refinement.mean": refinement.mean, "refinement.basis": refinement.basis}
    arrays |= {f"{REFINEMENT_NUMBERS}{markup}": numbers for markup, numbers in refinement.numbers.items()}
    return {name: value.astype(np.float32) for name, value in arrays.items()}


def visibility_arrays(visibility: Visibility | None) -> Arrays:
    """float32, by their names in a file."""
    if visibility is None:
        return {}
    arrays = {"visibility.scale": visibility.scale}
    arrays |= {f"{VISIBILITY_NUMBERS}{markup}": numbers for markup, numbers in visibility.numbers.items()}
    return {name: value.astype(np.float32) for name, value in arrays.items()}


def upright_arrays(upright: Upright | None) -> Arrays:
    """float32, by their name in a file."""
    return {"upright.numbers": upright.numbers.astype(np.float32)} if upright else {}


def pose_arrays(pose: Readout | None) -> Arrays:
    """float32, by their names in a file."""
    return {f"pose.{name}": getattr(pose, name).astype(np.float32) for name in READOUT} if pose else {}


def take_refinement(arrays: Arrays, config: ACDCConfig, where: str) -> Refinement | None:
    """Takes the arrays of the landmarks' polynomial out of a file's; None where there are none."""
    # float32 as well: refined points are the same to their own rounding, and half of the memory is read.
    found = {n: np.asarray(arrays.pop(n), np.float32) for n in list(arrays) if n.startswith("refinement.")}
    if not found:
        return None
    missing = [name for name in ("refinement.mean", "refinement.basis") if name not in found]
    if missing:
        raise InputError(f"{where}: holds parts of the landmarks' refinement, but {missing[0]!r} is missing")
    mean, basis = found.pop("refinement.mean"), found.pop("refinement.basis")
    numbers = {name.removeprefix(REFINEMENT_NUMBERS): value for name, value in found.items()}
    refinement = Refinement(mean, basis, numbers)
    if fault := refinement.fault({m: config.points[m] for m in config.order}):
        raise InputError(f"{where}: {fault}")
    return refinement


def take_pose(arrays: Arrays, config: ACDCConfig, where: str) -> Readout | None:
    """Takes the arrays of the head pose's polynomial out of a file's; None where there are none."""
    found = {name: arrays.pop(f"pose.{name}") for name in READOUT if f"pose.{name}" in arrays}
    if not found:
        return None
    missing = [name for name in READOUT if name not in found]
    if missing or not config.has_pose:
        wrong = f"'pose.{missing[0]}' is missing" if missing else "the network has no pose head"
        raise InputError(f"{where}: holds parts of a head pose's polynomial, but {wrong}")
    readout = Readout(**{name: np.asarray(value, np.float64) for name, value in found.items()})
    if fault := readout.fault(config.points[config.solid[0]]):
        raise InputError(f"{where}: {fault}")
    return readout


def take_visibility(arrays: Arrays, config: ACDCConfig, refinement: Refinement | None, where: str) -> Visibility | None:
    """Takes the arrays of the points' visibility out of a file's; None where there are none."""
    found = {n: np.asarray(arrays.pop(n), np.float64) for n in list(arrays) if n.startswith("visibility.")}
    if not found:
        return None
    if "visibility.scale" not in found:
        raise InputError(f"{where}: holds parts of the points' visibility, but 'visibility.scale' is missing")
    if refinement is None or len(refinement.basis) < COMPONENTS or not config.has_pose:
        raise InputError(f"{where}: the points' visibility reads a refinement and a head pose, which the file lacks")
    scale = found.pop("visibility.scale")
    visibility = Visibility({name.removeprefix(VISIBILITY_NUMBERS): value for name, value in found.items()}, scale)
    if fault := visibility.fault({m: config.points[m] for m in config.order}):
        raise InputError(f"{where}: {fault}")
    return visibility


def take_upright(arrays: Arrays, config: ACDCConfig, where: str) -> Upright | None:
    """Takes the array that tells upright faces out of a file's; None where there is none."""
    if "upright.numbers" not in arrays:
        return None
    upright = Upright(np.asarray(arrays.pop("upright.numbers"), np.float32))
    if fault := upright.fault(sum(config.points[markup] for markup in config.order)):
        raise InputError(f"{where}: {fault}")
    return upright
