"""When a face is done: the spread at which ``Model(stages="auto")`` ends, found on faces that were not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError
from acdc_fast.weights import load_weights, save_weights

from .. import metrics
from ..loop.validation import normaliser
from ..observations import Observations

#: How much larger than the whole cascade's the error may become, on average over databases and markups.
COST = 0.02


def depths(doubts: np.ndarray, enough: float) -> np.ndarray:
    """(stages, N) mean spreads → (N,) index of the stage that each face ends at; the last for faces not found."""
    done = doubts <= enough
    done[-1] = True
    return np.asarray(done.argmax(0))


def errors_by_stage(seen: Observations) -> list[np.ndarray]:
    """Of each labelled markup (stages, N) NME; faces without the markup are NaN."""
    found = []
    for markup in seen.points[-1]:
        target, known = seen.labelled(markup)
        if len(known):
            scale = normaliser(markup, target)
            values = np.full((len(seen.points), len(seen.annotations)), np.nan)
            values[:, known] = [metrics.nme(points[markup][known], target, scale) for points in seen.points]
            found.append(values)
    return found


def trade(observed: Mapping[str, Observations], enough: float) -> tuple[float, float]:
    """Mean number of stages run, and the error over the whole cascade's (mean over databases and markups)."""
    return _trade([(seen.doubts, errors_by_stage(seen)) for seen in observed.values()], enough)


def _trade(parts: Sequence[tuple[np.ndarray, list[np.ndarray]]], enough: float) -> tuple[float, float]:
    """`trade` on each database's doubts and errors."""
    run, ratios = [], []
    for doubts, of_markups in parts:
        ends = depths(doubts, enough)
        run.append(ends.mean() + 1)
        for errors in of_markups:
            ratios.append(np.nanmean(np.take_along_axis(errors, ends[None], 0)) / np.nanmean(errors[-1]))
    return float(np.mean(run)), float(np.mean(ratios))


def find_enough(observed: Mapping[str, Observations], cost: float = COST) -> float:
    """The largest spread whose error stays within ``cost`` of the whole cascade's.

    Raises `InputError` where there is nothing to look at.
    """
    parts = [(seen.doubts, errors_by_stage(seen)) for seen in observed.values()]
    if any(not errors for _, errors in parts):
        raise InputError("--enough needs databases with labels of the network's markups")
    doubts = np.concatenate([seen.doubts[:-1].ravel() for seen in observed.values()])
    if not len(doubts):
        raise InputError("--enough: a network of one stage cannot end early")
    tried = np.nanquantile(doubts, np.linspace(0, 1, 201))
    kept = [float(value) for value in tried if _trade(parts, value)[1] <= 1 + cost]
    return max(kept, default=float(tried[0]) * 0.999)


def write_enough(path: Path, observed: Mapping[str, Observations], out: Path, half: bool = False) -> float:
    """The weights with what is enough in their card."""
    enough, weights = find_enough(observed), load_weights(path)
    save_weights(out, replace(weights, card={**weights.card, "enough": f"{enough:.6g}"}), half)
    run, ratio = trade(observed, enough)
    print(f"a mean spread of {enough:.4f} is enough: {run:.2f} stages a face, {ratio:.3f} of the whole cascade's error")
    return enough
