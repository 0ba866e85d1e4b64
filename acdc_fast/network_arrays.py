"""Names and shapes of the network's arrays, and the check of those that a file or a module brings. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .config import ACDCConfig
from .errors import InputError, shown

Arrays = dict[str, np.ndarray]


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
        fused = (w, config.fusion_channels, 1, 1)
        shapes[f"unets.{i}.stem.weight"] = fused if i else (w, 1, config.patch, config.patch)
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
