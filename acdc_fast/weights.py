"""Weights as safetensors: the arrays of `ACDC.state_dict()`, everything else in the file's metadata. Needs no torch.

Metadata: ``format`` (version of this layout), ``config`` (JSON of `ACDCConfig`), ``markups`` (JSON list: those handed
to users), ``calibration`` (JSON {markup: the numbers of `acdc_fast.readout.confidence`}) and ``card`` (JSON of facts,
all of them texts: data, licence, command, commit, results, ``resolution`` of the crops trained on), ``digest`` (SHA-256
of the arrays; older files have none), ``tables`` (JSON list of the markups that the package lacks, as
`acdc_fast.markup_tables` has them). The arrays ``pose.mean``,
``pose.basis`` and ``pose.numbers``, where there, are those of `acdc_fast.readout.head_pose.Readout`;
``refinement.mean``, ``refinement.basis`` and ``refinement.numbers.MARKUP``
those of `acdc_fast.readout.refinement.Refinement`; ``visibility.scale`` and ``visibility.numbers.MARKUP`` those of
`acdc_fast.readout.visibility.Visibility`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .bundled import bundled as bundled
from .bundled import bundled_path as bundled_path
from .config import ACDCConfig
from .errors import InputError, shown
from .files import written_beside
from .markup_tables import registered
from .metadata import check_card, read_calibration, read_card, read_config, read_markups, read_tables, write_tables
from .readout.head_pose import Readout
from .readout.refinement import Refinement
from .readout.visibility import COMPONENTS, Visibility

FORMAT = "acdc-fast 1"
#: Larger files are refused before they are read; the paper's network has 40 MB.
MAX_BYTES = 2 << 30

Arrays = dict[str, np.ndarray]

#: Arrays of a `Readout` by name.
READOUT = ("mean", "basis", "numbers")
#: A `Refinement`'s arrays for one markup are named this and the markup.
NUMBERS = "refinement.numbers."
#: The same of a `Visibility`.
SIGHT = "visibility.numbers."


@dataclass(frozen=True)
class Weights:
    """One trained network: what a weights file holds."""

    config: ACDCConfig
    arrays: Arrays  # float32, named as in ACDC.state_dict(), batch norm's running statistics included
    markups: tuple[str, ...] = ()  # handed to users; empty = all of the config's
    calibration: dict[str, tuple[float, ...]] = field(default_factory=dict)
    card: dict[str, str] = field(default_factory=dict)
    refinement: Refinement | None = None  # None: landmarks are the maps' first moments
    pose: Readout | None = None  # None: the pose is the network's Ω
    visibility: Visibility | None = None  # None: nothing is said of whether points are in sight

    @property
    def handed_out(self) -> tuple[str, ...]:
        """The same, never empty, in the order of the network's maps."""
        return tuple(m for m in self.config.order if m in self.exposed)

    @property
    def exposed(self) -> tuple[str, ...]:
        return self.markups or self.config.order


def state_shapes(config: ACDCConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every array that a network of this config has; agrees with `ACDC(config).state_dict()`."""
    w = config.width
    blocks = {
        "encode1": (w, w), "down1": (w, w), "encode2": (w, 2 * w), "down2": (2 * w, 2 * w),
        "encode3": (2 * w, 4 * w), "down3": (4 * w, 4 * w), "up3": (4 * w, 4 * w), "decode3": (4 * w, 2 * w),
        "up2": (2 * w, 2 * w), "decode2": (2 * w, w), "up1": (w, w), "decode1": (w, w),
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(config.stages):
        shapes[f"unets.{i}.stem.weight"] = (w, config.fusion_channels if i else 1, 1, 1)
        shapes[f"unets.{i}.stem.bias"] = (w,)
        for name, (inputs, outputs) in blocks.items():
            shapes[f"unets.{i}.{name}.0.weight"] = (outputs, inputs, 3, 3)
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"unets.{i}.{name}.1.{part}"] = (outputs,)
    for stream, markups in (("2d", config.chain), ("3d", config.solid)):
        inputs = config.stream_channels
        if markups:
            shapes[f"gtn.depthwise.{stream}"] = (inputs, 3, 3)
        for markup in markups:
            shapes[f"gtn.transfer.{markup}"] = (config.points[markup], inputs)
            inputs = config.points[markup]
    if config.has_pose:
        shapes["gtn.pose.weight"] = (3, 2 * config.points[config.solid[0]])
        shapes["gtn.pose.bias"] = (3,)
    for i in range(config.stages - 1 if config.has_excitation else 0):
        shapes[f"excite.{i}.weight"] = (config.fusion_channels, 3)
        shapes[f"excite.{i}.bias"] = (config.fusion_channels,)
    return shapes


def check_arrays(config: ACDCConfig, arrays: Mapping[str, np.ndarray], where: str) -> Arrays:
    """The arrays that a network of this config needs, as float32; `InputError` names the first that does not fit."""
    checked: Arrays = {}
    for name, shape in state_shapes(config).items():
        if name not in arrays:
            raise InputError(f"{where}: tensor {name!r} is missing; were the weights made by another architecture?")
        array = np.asarray(arrays[name])
        if array.shape != shape:
            raise InputError(f"{where}: tensor {name!r} has shape {array.shape}, this architecture needs {shape}")
        if array.dtype.kind != "f":
            raise InputError(f"{where}: tensor {name!r} holds {array.dtype}, not floating point numbers")
        checked[name] = np.ascontiguousarray(array, np.float32)
        if not np.isfinite(checked[name]).all():
            raise InputError(f"{where}: tensor {name!r} holds NaN or infinity")
        if name.endswith("running_var") and (checked[name] < 0).any():
            raise InputError(f"{where}: tensor {name!r} holds a variance below 0")
    stray = [name for name in arrays if name not in checked and not name.endswith("num_batches_tracked")]
    if stray:
        raise InputError(f"{where}: tensor {shown(stray[0])} has no place in this architecture")
    return checked


def weights_of(source: Any) -> Weights:
    """Of a weights file, an `ACDC` module (copied), or `Weights` (checked). Raises `InputError` for all else."""
    if isinstance(source, Weights):
        return replace(source, arrays=check_arrays(source.config, source.arrays, "weights"))
    if isinstance(source, (str, os.PathLike)):
        return load_weights(source)
    config = getattr(source, "config", None)
    if not isinstance(config, ACDCConfig) or not hasattr(source, "state_dict"):
        raise InputError(f"a model is made of a weights file or an ACDC module, not {type(source).__name__}")
    state = {
        name: tensor.detach().cpu().double().numpy().astype(np.float32)
        for name, tensor in source.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    return Weights(config, check_arrays(config, state, "module"))


def save_weights(path: str | os.PathLike[str], weights: Weights, half: bool = False) -> None:
    """Written beside and renamed; ``half``: matrices and kernels in float16, the refinement's too.

    Raises `InputError` where the arrays do not fit the config, or half precision cannot hold them.
    """
    data = serialised(weights, half, str(path))
    with written_beside(path) as beside:
        beside.write_bytes(data)


def fingerprint(weights: Weights) -> str:
    """SHA-256 of everything that a weights file holds."""
    return hashlib.sha256(serialised(weights)).hexdigest()


def serialised(weights: Weights, half: bool = False, where: str = "weights") -> bytes:
    """The bytes of the file: the same for the same weights."""
    from safetensors.numpy import save

    metadata = {
        "format": FORMAT,
        "config": weights.config.to_json(),
        "markups": json.dumps(weights.exposed),
        "calibration": json.dumps(weights.calibration),
        "card": json.dumps(weights.card),
        **write_tables(weights.config),
    }
    check_card(weights.card, where)
    arrays = check_arrays(weights.config, weights.arrays, where)
    if refinement := weights.refinement:
        fitted = {"refinement.mean": refinement.mean, "refinement.basis": refinement.basis}
        fitted |= {f"{NUMBERS}{markup}": numbers for markup, numbers in refinement.numbers.items()}
        arrays |= {name: value.astype(np.float32) for name, value in fitted.items()}
    if sight := weights.visibility:
        fitted = {f"{SIGHT}{markup}": numbers for markup, numbers in sight.numbers.items()}
        arrays |= {n: v.astype(np.float32) for n, v in ({"visibility.scale": sight.scale} | fitted).items()}
    if half:
        arrays = _halved(arrays, where)
    if weights.pose:
        arrays |= {f"pose.{name}": getattr(weights.pose, name).astype(np.float32) for name in READOUT}
    # safetensors writes memory as it lies, whatever the strides say: everything is made contiguous first.
    arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    data = save(arrays, {**metadata, "digest": digest_of(arrays)})
    # Its header lists the metadata in a random order; here they are sorted.
    body = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:body])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + data[body:]


def _halved(arrays: Arrays, where: str) -> Arrays:
    """Matrices and kernels in float16; `InputError` names the first that does not fit."""
    with np.errstate(over="ignore"):
        halved = {name: value.astype(np.float16) if value.ndim > 1 else value for name, value in arrays.items()}
    for name, value in halved.items():
        if not np.isfinite(value).all():
            raise InputError(f"{where}: tensor {name!r} is too large for half precision")
    return halved


def load_weights(path: str | os.PathLike[str]) -> Weights:
    """Raises `InputError`, naming the file, where it is missing, truncated, of another kind or another architecture, or
    holds what cannot be: nothing in it is believed before it is checked."""
    from safetensors import SafetensorError, safe_open

    where = os.fspath(path)
    if not os.path.isfile(where):
        hint = f"; the package's own of this name: Model.from_pretrained({where!r})" if where in bundled() else ""
        raise InputError(f"{where}: there is no such weights file{hint}")
    try:
        if os.path.getsize(where) > MAX_BYTES:
            raise InputError(f"{where}: is larger than the limit of {MAX_BYTES >> 20} MiB")
        with safe_open(where, "np") as file:
            metadata = file.metadata() or {}
            if "config" not in metadata:
                raise InputError(f"{where}: safetensors, but not of acdc_fast: its metadata names no network config")
            layout = metadata.get("format")
            if layout != FORMAT:
                raise InputError(f"{where}: layout {shown(layout)}, this version reads {FORMAT!r}; update acdc_fast?")
            arrays = {name: _array(file, name, where) for name in file.keys()}  # noqa: SIM118  it is no dict
    except (SafetensorError, OSError, TypeError) as error:
        raise InputError(f"{where}: not a whole safetensors file ({error})") from error
    with registered(read_tables(metadata, where), where):  # forgotten again where the file is refused
        return _checked(metadata, arrays, where)


def _checked(metadata: Mapping[str, str], arrays: Arrays, where: str) -> Weights:
    config = read_config(metadata, where)
    markups, card = read_markups(metadata, config, where), read_card(metadata, where)
    calibration = read_calibration(metadata, config, where)
    if metadata.get("pose", "[]") != "[]":
        told = "its head pose is fitted as an older version did"
        raise InputError(f"{where}: {told}; 'acdc-fast evaluate --pose' fits it anew")
    if "digest" in metadata and metadata["digest"] != digest_of(arrays):
        raise InputError(f"{where}: its tensors are not those that were saved in it: is it damaged, or edited by hand?")
    refinement, readout = _refinement(arrays, config, where), _readout(arrays, config, where)
    visibility = _visibility(arrays, config, refinement, where)
    checked = check_arrays(config, arrays, where)
    return Weights(config, checked, markups, calibration, card, refinement, readout, visibility)


def _array(file: Any, name: str, where: str) -> np.ndarray:
    """A tensor of the file, which must be of a type that this package writes."""
    kind = file.get_slice(name).get_dtype()
    if kind not in ("F32", "F16"):
        raise InputError(f"{where}: tensor {shown(name)} holds {kind}, not floating point numbers of 32 or 16 bits")
    array: np.ndarray = file.get_tensor(name)
    return array


def digest_of(arrays: Arrays) -> str:
    """SHA-256 of names, shapes, types and numbers."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _refinement(arrays: Arrays, config: ACDCConfig, where: str) -> Refinement | None:
    """Takes the arrays of the landmarks' polynomial out of a file's; None where there are none."""
    # float32 as well: refined points are the same to their own rounding, and half of the memory is read.
    found = {n: np.asarray(arrays.pop(n), np.float32) for n in list(arrays) if n.startswith("refinement.")}
    if not found:
        return None
    missing = [name for name in ("refinement.mean", "refinement.basis") if name not in found]
    if missing:
        raise InputError(f"{where}: holds parts of the landmarks' refinement, but {missing[0]!r} is missing")
    mean, basis = found.pop("refinement.mean"), found.pop("refinement.basis")
    refinement = Refinement(mean, basis, {name.removeprefix(NUMBERS): value for name, value in found.items()})
    if fault := refinement.fault({m: config.points[m] for m in config.order}):
        raise InputError(f"{where}: {fault}")
    return refinement


def _readout(arrays: Arrays, config: ACDCConfig, where: str) -> Readout | None:
    """Takes the arrays of the head pose's polynomial out of a file's; None where there are none."""
    found = {name: arrays.pop(f"pose.{name}") for name in READOUT if f"pose.{name}" in arrays}
    if not found:
        return None
    missing = [name for name in READOUT if name not in found]
    if missing or not config.has_pose:
        told = f"'pose.{missing[0]}' is missing" if missing else "the network has no pose head"
        raise InputError(f"{where}: holds parts of a head pose's polynomial, but {told}")
    readout = Readout(**{name: np.asarray(value, np.float64) for name, value in found.items()})
    if fault := readout.fault(config.points[config.solid[0]]):
        raise InputError(f"{where}: {fault}")
    return readout


def _visibility(arrays: Arrays, config: ACDCConfig, refinement: Refinement | None, where: str) -> Visibility | None:
    """Takes the arrays of the points' visibility out of a file's; None where there are none."""
    found = {n: np.asarray(arrays.pop(n), np.float32) for n in list(arrays) if n.startswith("visibility.")}
    if not found:
        return None
    if "visibility.scale" not in found:
        raise InputError(f"{where}: holds parts of the points' visibility, but 'visibility.scale' is missing")
    if refinement is None or len(refinement.basis) < COMPONENTS or not config.has_pose:
        raise InputError(f"{where}: the points' visibility reads a refinement and a head pose, which the file lacks")
    scale = found.pop("visibility.scale")
    visibility = Visibility({name.removeprefix(SIGHT): value for name, value in found.items()}, scale)
    if fault := visibility.fault({m: config.points[m] for m in config.order}):
        raise InputError(f"{where}: {fault}")
    return visibility
