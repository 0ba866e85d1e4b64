"""What several engines share: the check of the type they compute in, batch norm and transfer chain folded. No torch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..config import ACDCConfig
from ..errors import BackendUnavailable

#: The network's pose is degrees / 90.
POSE_SCALE = np.float32(90)
BATCH_NORM_EPSILON = 1e-5
CONVOLUTIONS = (
    "encode1", "down1", "encode2", "down2", "encode3", "down3",
    "up3", "decode3", "up2", "decode2", "up1", "decode1",
)  # fmt: skip

Arrays = dict[str, np.ndarray]


def check_dtype(backend: str, dtype: str, known: Iterable[str]) -> None:
    """Raises `BackendUnavailable` for a type that the backend does not compute in."""
    if dtype not in known:
        wrong = f"backend {backend!r} computes in {', '.join(known)}, not {dtype!r}"
        raise BackendUnavailable(f"{wrong}: use one of these or another backend")


def folded_weights(config: ACDCConfig, arrays: Arrays) -> Arrays:
    """Weights for the C++ engine, in float64: batch norm folded into the convolutions, the chain into one product."""
    source = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    out: Arrays = {}
    for i in range(config.stages):
        for part in ("weight", "bias"):
            out[f"{i}.stem.{part}"] = source[f"unets.{i}.stem.{part}"]
        for name in CONVOLUTIONS:
            weight, norm = source[f"unets.{i}.{name}.0.weight"], f"unets.{i}.{name}.1."
            scale = source[norm + "weight"] / np.sqrt(source[norm + "running_var"] + BATCH_NORM_EPSILON)
            out[f"{i}.{name}.weight"] = weight * scale[:, None, None, None]
            out[f"{i}.{name}.bias"] = source[norm + "bias"] - source[norm + "running_mean"] * scale
        if config.has_excitation and i + 1 < config.stages:
            for part in ("weight", "bias"):
                out[f"{i}.excite.{part}"] = source[f"excite.{i}.{part}"]
    products: list[np.ndarray] = []
    for name in config.chain:
        layer = source[f"gtn.transfer.{name}"]
        products.append(layer @ products[-1] if products else layer)
    products += [source[f"gtn.transfer.{name}"] for name in config.solid]
    out["transfer"] = np.concatenate(products)
    streams = (("2d", config.chain), ("3d", config.solid))
    for i, stream in enumerate(name for name, markups in streams if markups):
        out[f"depthwise.{i}"] = source[f"gtn.depthwise.{stream}"]
    if config.has_pose:
        for part in ("weight", "bias"):
            out[f"pose.{part}"] = source[f"gtn.pose.{part}"]
    return out
