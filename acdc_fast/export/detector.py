"""Our own detector as ONNX: a grey picture of any size in, the network's raw outputs of each level out.

Boxes are made of them as `detector.plan` says, and the picture is looked at in several sizes as `detector.pyramid`
says. The numbers that this takes are in the file's metadata, under ``detector``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from .. import __version__
from ..detector import pyramid
from ..detector.network import Detector
from ..detector.plan import LEVELS
from ..detector.weights import load_detector
from .facts import CODE_LICENCE, UNKNOWN_TERMS
from .recipes import detector_recipe
from .writers import write_onnx


def export_detector(path: str | os.PathLike[str]) -> list[str]:
    """Writes ONNX that takes ``grey`` (1, 1, H, W), 0 to 255, and gives the outputs "level_8" and so on, each
    (1, 5, ⌈H/s⌉, ⌈W/s⌉) for its stride s; gives their names. Needs torch and onnx."""
    arrays, card = load_detector(pyramid.WEIGHTS)
    module = Exported(arrays)
    facts = {
        "acdc_fast": __version__, "licence_of_code": CODE_LICENCE,
        "licence_of_weights": card.get("licence", UNKNOWN_TERMS), "detector": json.dumps(detector_recipe()),
    }  # fmt: skip
    sides = {2: torch.export.Dim("height", min=32), 3: torch.export.Dim("width", min=32)}
    write_onnx(module, path, "grey", torch.zeros(1, 1, 96, 128), {"grey": sides}, facts)
    return module.outputs


class Exported(nn.Module):
    """The network with these weights (`detector.weights.shapes`); it makes values of −1 to 1 of grey ones itself."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.network = with_folded(arrays)
        self.outputs = [f"level_{stride}" for _, stride in LEVELS]

    def forward(self, grey: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network((grey - 128) / 128))


def with_folded(arrays: Mapping[str, np.ndarray]) -> Detector:
    """The torch network with the arrays that `detector.weights.folded` gives, in eval mode and without norms."""
    network = Detector().eval()

    def put(owner: nn.Module, name: str, key: str) -> None:
        weight, old = torch.from_numpy(arrays[f"{key}.weight"].copy()), getattr(owner, name)
        # (in, out) → (out, in, 1, 1) if 1×1; (h, w, out) → (out, 1, h, w) if depthwise or the stem
        new = weight.T[:, :, None, None] if weight.ndim == 2 else weight.movedim(-1, 0)[:, None]
        old.weight = nn.Parameter(new.contiguous())
        old.bias = nn.Parameter(torch.from_numpy(arrays[f"{key}.bias"].copy()))
        if hasattr(owner, f"{name}_norm"):
            setattr(owner, f"{name}_norm", nn.Identity())

    put(network, "stem", "stem")
    for room in ("backbone", "neck"):
        for i, block in enumerate(getattr(network, room)):
            for name in ("depthwise", "pointwise"):
                put(block, name, f"{room}.{i}.{name}")
    for i in range(len(network.down)):
        put(network.down, str(i), f"down.{i}")
    for i in range(len(network.heads)):
        put(network.heads, str(i), f"head.{i}")
    return network
