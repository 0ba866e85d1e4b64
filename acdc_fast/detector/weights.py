"""Weights of the detector: names and shapes, normalisations folded in, read from and written to safetensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..files import written_beside
from .plan import BACKBONE, LEVELS, OUTPUTS, STEM

if TYPE_CHECKING:
    import torch

    from .network import Detector


def shapes() -> dict[str, tuple[int, ...]]:
    """Name → shape of every array, in the engine's order.

    Blocks: depthwise (3, 3, in), pointwise (in, out), each with a bias. Levels are numbered from the finest.
    """
    found: dict[str, tuple[int, ...]] = {"stem.weight": (3, 3, STEM), "stem.bias": (STEM,)}
    channels = [BACKBONE[block][1] for block, _ in LEVELS]
    blocks = [(f"backbone.{i}", a, b) for i, (a, b, _) in enumerate(BACKBONE)]
    blocks += [(f"neck.{i}", count, count) for i, count in enumerate(channels[:-1])]
    for name, inputs, outputs in blocks:
        found |= {f"{name}.depthwise.weight": (3, 3, inputs), f"{name}.depthwise.bias": (inputs,)}
        found |= {f"{name}.pointwise.weight": (inputs, outputs), f"{name}.pointwise.bias": (outputs,)}
    for i, (coarse, fine) in enumerate(zip(channels[1:], channels[:-1], strict=True)):
        found |= {f"down.{i}.weight": (coarse, fine), f"down.{i}.bias": (fine,)}
    for i, count in enumerate(channels):
        found |= {f"head.{i}.weight": (count, OUTPUTS), f"head.{i}.bias": (OUTPUTS,)}
    return found


def folded(network: Detector) -> dict[str, np.ndarray]:
    """The arrays of `shapes`, float32. Each normalisation y = g·(x − m)/√(v + ε) + b is folded into its convolution."""
    arrays: dict[str, np.ndarray] = {}

    def put(name: str, convolution: Any, norm: Any = None) -> None:
        weight = _doubles(convolution.weight)
        bias = np.zeros(len(weight)) if convolution.bias is None else _doubles(convolution.bias)
        if norm is not None:
            mean, variance = _doubles(norm.running_mean), _doubles(norm.running_var)
            scale = _doubles(norm.weight) / np.sqrt(variance + norm.eps)
            weight, bias = weight * scale[:, None, None, None], (bias - mean) * scale + _doubles(norm.bias)
        # (out, in, h, w) → (in, out) if 1×1; → (h, w, out) if depthwise or the stem
        weight = weight[:, :, 0, 0].T if weight.shape[2:] == (1, 1) else np.moveaxis(weight[:, 0], 0, -1)
        arrays[f"{name}.weight"] = np.ascontiguousarray(weight, np.float32)
        arrays[f"{name}.bias"] = np.ascontiguousarray(bias, np.float32)

    put("stem", network.stem, network.stem_norm)
    for room in ("backbone", "neck"):
        for i, block in enumerate(getattr(network, room)):
            put(f"{room}.{i}.depthwise", block.depthwise, block.depthwise_norm)
            put(f"{room}.{i}.pointwise", block.pointwise, block.pointwise_norm)
    for i, layer in enumerate(network.down):
        put(f"down.{i}", layer)
    for i, layer in enumerate(network.heads):
        put(f"head.{i}", layer)
    return {name: arrays[name] for name in shapes()}


def _doubles(values: torch.Tensor | None) -> np.ndarray:
    assert values is not None
    return np.asarray(values.detach().cpu().double().numpy())


def save_detector(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], card: Mapping[str, str]) -> None:
    """Writes a weights file under another name, then renames it: a broken write leaves the old file whole."""
    from safetensors.numpy import save_file

    with written_beside(path) as beside:
        save_file(dict(arrays), os.fspath(beside), {"kind": "acdc-fast detector", **card})


def load_detector(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of `shapes` and the card. Raises `InputError` for a file that holds anything else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), "np") as file:
            card = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: no weights of a detector ({error})") from error
    wanted = shapes()
    if set(arrays) != set(wanted):
        odd = sorted(set(arrays) ^ set(wanted))[0]
        raise InputError(f"{path}: no weights of the detector ({odd} is missing or unknown)")
    for name, shape in wanted.items():
        if arrays[name].shape != shape or arrays[name].dtype != np.float32 or not np.isfinite(arrays[name]).all():
            raise InputError(f"{path}: {name} must be finite float32 of shape {shape}")
    return {name: arrays[name] for name in wanted}, card
