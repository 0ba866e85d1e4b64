"""A deeper cascade from a trained one, so that the cheap first stage can be trained alone first (ours).

Stages that the trained network lacks start as copies of its last one. A copy of a first stage reads the image alone:
the columns of its stem for I⊙Φ, H and H⊙Φ start at 0 and the excitation at ½ for every pose, so that each new stage
says at first exactly what the one before it said, and learns from there to use the rest.
"""

from __future__ import annotations

import numpy as np

from acdc_fast.config import ACDCConfig
from acdc_fast.weights import Arrays


def grow(arrays: Arrays, trained: ACDCConfig, wanted: ACDCConfig) -> Arrays:
    """``arrays`` of a network with fewer stages → the same with those of the stages that ``wanted`` has beyond it."""
    grown = dict(arrays)
    if trained.width != wanted.width or trained.stages >= wanted.stages:
        return grown
    last = trained.stages - 1
    prefix = f"unets.{last}."
    for stage in range(trained.stages, wanted.stages):
        for name in [n for n in arrays if n.startswith(prefix)]:
            grown[f"unets.{stage}.{name[len(prefix) :]}"] = arrays[name].copy()
        if last == 0:
            stem = np.zeros((wanted.width, wanted.fusion_channels, 1, 1), np.float32)
            stem[:, 0] = arrays["unets.0.stem.weight"][:, 0] * (2 if wanted.has_excitation else 1)
            grown[f"unets.{stage}.stem.weight"] = stem
        if wanted.has_excitation and f"excite.{stage - 1}.weight" not in arrays:
            grown[f"excite.{stage - 1}.weight"] = np.zeros((wanted.fusion_channels, 3), np.float32)
            grown[f"excite.{stage - 1}.bias"] = np.zeros(wanted.fusion_channels, np.float32)
    return grown
