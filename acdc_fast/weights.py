"""Weights files: the network's arrays as safetensors, everything else in the file's metadata. Needs no torch.

| metadata | |
| --- | --- |
| ``format`` | version of this layout |
| ``config`` | JSON of `ACDCConfig` |
| ``markups`` | JSON list of the markups handed to users |
| ``tables`` | JSON list of the markups that the package lacks, as `acdc_fast.markup_tables` has them |
| ``calibration`` | JSON {markup: the numbers of `acdc_fast.readout.confidence`} |
| ``card`` | JSON {fact: text}: data, licence, command, commit, results, ``resolution`` of the crops trained on, … |
| ``digest`` | SHA-256 of the arrays; older files have none |

The network's arrays have the names of `ACDC.state_dict()` (`acdc_fast.network_arrays`). What is fitted after training,
where there, has names that begin with ``pose.``, ``refinement.``, ``upright.`` and ``visibility.``
(`acdc_fast.fitted_arrays`).
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
from .fitted_arrays import (
    pose_arrays,
    refinement_arrays,
    take_pose,
    take_refinement,
    take_upright,
    take_visibility,
    upright_arrays,
    visibility_arrays,
)
from .markup_tables import registered
from .metadata import check_card, read_calibration, read_card, read_config, read_markups, read_tables, write_tables
from .network_arrays import Arrays, check_arrays
from .readout.head_pose import Readout
from .readout.orientation import Upright
from .readout.refinement import Refinement
from .readout.visibility import Visibility

FORMAT = "acdc-fast 1"
#: Larger files are refused before they are read; the paper's network has 40 MB.
MAX_BYTES = 2 << 30


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
    visibility: Visibility | None = None  # None: `Faces.visible` is empty
    upright: Upright | None = None  # None: faces on their side are told by their narrowest maps alone

    @property
    def handed_out(self) -> tuple[str, ...]:
        """The same, never empty, in the order of the network's maps."""
        return tuple(m for m in self.config.order if m in self.exposed)

    @property
    def exposed(self) -> tuple[str, ...]:
        return self.markups or self.config.order


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
    check_card(weights.card, where, weights.config.crop_unit)
    arrays = check_arrays(weights.config, weights.arrays, where)
    arrays |= refinement_arrays(weights.refinement) | visibility_arrays(weights.visibility)
    arrays |= upright_arrays(weights.upright)
    if half:
        arrays = _halved(arrays, where)
    arrays |= pose_arrays(weights.pose)  # always float32
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
    holds impossible values. Everything is checked before it is used."""
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
        wrong = "its head pose was fitted by an older version"
        raise InputError(f"{where}: {wrong}; 'acdc-fast evaluate --pose' fits it again")
    if "digest" in metadata and metadata["digest"] != digest_of(arrays):
        raise InputError(f"{where}: its tensors are not those that were saved in it: is it damaged, or edited by hand?")
    refinement, readout = take_refinement(arrays, config, where), take_pose(arrays, config, where)
    visibility, upright = take_visibility(arrays, config, refinement, where), take_upright(arrays, config, where)
    checked = check_arrays(config, arrays, where)
    return Weights(config, checked, markups, calibration, card, refinement, readout, visibility, upright)


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
