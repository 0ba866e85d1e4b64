"""Makes a larger cascade from a trained one, so that cheap stages and narrow networks can be trained first (ours).

More stages: each new stage starts as a copy of the last trained one. If that is the first stage, its copy reads only
the image: the weights of its stem for I⊙Φ, H and H⊙Φ start at 0, and the excitation at ½ for every pose. So each new
stage first gives exactly what the stage before it gave. Training then teaches it to use the rest. With patches it sees
the mean of each, so it first gives nearly the same.

More width (a multiple): each channel starts as several copies. The next layer's weights split the original weight
among the copies in random parts. So the wide network first gives exactly what the narrow one gave, but no two copies
learn alike (after Chen, Goodfellow, Shlens, "Net2Net", ICLR 2016).
"""

from __future__ import annotations

import numpy as np

from acdc_fast.config import ACDCConfig
from acdc_fast.network_arrays import Arrays


def grow(arrays: Arrays, trained: ACDCConfig, wanted: ACDCConfig, seed: int = 0) -> Arrays:
    """``arrays`` of a smaller network → arrays to start ``wanted`` from: widened first, then deepened."""
    if wanted.width % trained.width or trained.stages > wanted.stages:
        return dict(arrays)
    grown = _widen(arrays, trained, wanted, seed) if wanted.width > trained.width else dict(arrays)
    if trained.stages < wanted.stages:
        _deepen(grown, trained, wanted)
    return grown


def _deepen(grown: Arrays, trained: ACDCConfig, wanted: ACDCConfig) -> None:
    last = trained.stages - 1
    prefix = f"unets.{last}."
    originals = [n for n in grown if n.startswith(prefix)]
    for stage in range(trained.stages, wanted.stages):
        for name in originals:
            grown[f"unets.{stage}.{name[len(prefix) :]}"] = grown[name].copy()
        if last == 0:
            stem = np.zeros((wanted.width, wanted.fusion_channels, 1, 1), np.float32)
            seen = grown["unets.0.stem.weight"].sum((2, 3))[..., None, None]  # of a patch its mean alone
            stem[:, 0] = seen[:, 0] * (2 if wanted.has_excitation else 1)
            grown[f"unets.{stage}.stem.weight"] = stem
        if wanted.has_excitation and f"excite.{stage - 1}.weight" not in grown:
            start = {"weight": np.zeros((wanted.fusion_channels, 3)), "bias": np.zeros(wanted.fusion_channels)}
            for name, value in start.items():
                value = grown.get(f"excite.{last - 1}.{name}", value)  # of the stage that is copied
                grown[f"excite.{stage - 1}.{name}"] = value.astype(np.float32)


def _widen(arrays: Arrays, trained: ACDCConfig, wanted: ACDCConfig, seed: int) -> Arrays:
    """Channel c of every layer → channels rc to rc + r − 1; r is the ratio of the widths. I and I⊙Φ stay single."""
    if wanted.stream_channels * trained.width != trained.stream_channels * wanted.width:
        return dict(arrays)  # the transfer layers would read other channels
    ratio, rng = wanted.width // trained.width, np.random.default_rng(seed)
    fused = np.concatenate([[0, 1], 2 + np.arange(2 * trained.width).repeat(ratio)])

    def shared(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """Columns (axis 1) repeated as ``inputs`` says. Each copy gets a random part of the original."""
        parts = rng.uniform(0.1, 1.0, (len(weights), len(inputs), *(1,) * (weights.ndim - 2))).astype(np.float32)
        total = np.zeros((weights.shape[1], len(weights), *parts.shape[2:]), parts.dtype)
        np.add.at(total, inputs, parts.swapaxes(0, 1))
        return np.asarray(weights[:, inputs] * (parts / total.swapaxes(0, 1)[:, inputs]))

    grown = dict(arrays)
    first = tuple(f"gtn.transfer.{m}" for m in (*trained.chain[:1], *trained.solid))  # the others read maps, not H
    for name, value in arrays.items():
        if name in first:
            grown[name] = shared(value, np.arange(trained.stream_channels).repeat(ratio))
        elif name.startswith("excite"):
            grown[name] = value[fused]
        elif name.startswith(("unets", "gtn.depthwise")):
            value = value.repeat(ratio, axis=0)
            if name.startswith("unets") and value.ndim == 4 and value.shape[1] > 1:
                stem = name.endswith("stem.weight")
                value = shared(value, fused if stem else np.arange(value.shape[1]).repeat(ratio))
            grown[name] = value
    return grown
