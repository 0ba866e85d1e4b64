"""Finds the spread at which ``Model(stages="auto")`` runs no further stage for a face.

It is found on faces that were not trained on.
"""

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

#: Relative increase of the error that is allowed, against all stages; mean over databases and markups.
MAX_INCREASE = 0.02


def last_stages(mean_spreads: np.ndarray, enough: float) -> np.ndarray:
    """(stages, N) mean spreads → (N,) index of the last stage that each face runs. All for faces not found."""
    done = mean_spreads <= enough
    done[-1] = True
    return np.asarray(done.argmax(0))


def errors_by_stage(seen: Observations) -> list[np.ndarray]:
    """(stages, N) NME for each labelled markup; NaN for faces without the markup."""
    found = []
    for markup in seen.points[-1]:
        target, known = seen.labelled(markup)
        if len(known):
            scale = normaliser(markup, target)
            values = np.full((len(seen.points), len(seen.annotations)), np.nan)
            values[:, known] = [metrics.nme(points[markup][known], target, scale) for points in seen.points]
            found.append(values)
    return found


def stages_and_error(observed: Mapping[str, Observations], enough: float) -> tuple[float, float]:
    """Mean number of stages, and the error as a ratio to that of all stages; means over databases and markups."""
    return _stages_and_error([(seen.mean_spreads, errors_by_stage(seen)) for seen in observed.values()], enough)


def _stages_and_error(parts: Sequence[tuple[np.ndarray, list[np.ndarray]]], enough: float) -> tuple[float, float]:
    """The same from (mean spreads, errors of the markups) of each database."""
    run, ratios = [], []
    for mean_spreads, of_markups in parts:
        ends = last_stages(mean_spreads, enough)
        run.append(ends.mean() + 1)
        for errors in of_markups:
            ratios.append(np.nanmean(np.take_along_axis(errors, ends[None], 0)) / np.nanmean(errors[-1]))
    return float(np.mean(run)), float(np.mean(ratios))


def find_enough(observed: Mapping[str, Observations], max_increase: float = MAX_INCREASE) -> float:
    """The largest spread that keeps the error within 1 + ``max_increase`` times that of all stages.

    Raises `InputError` if there are no labels, or only one stage.
    """
    parts = [(seen.mean_spreads, errors_by_stage(seen)) for seen in observed.values()]
    if any(not errors for _, errors in parts):
        raise InputError("--enough needs databases with labels of the network's markups")
    mean_spreads = np.concatenate([seen.mean_spreads[:-1].ravel() for seen in observed.values()])
    if not len(mean_spreads):
        raise InputError("--enough: a network of one stage cannot end early")
    tried = np.nanquantile(mean_spreads, np.linspace(0, 1, 201))
    kept = [float(value) for value in tried if _stages_and_error(parts, value)[1] <= 1 + max_increase]
    return max(kept, default=float(tried[0]) * 0.999)


def write_enough(path: Path, observed: Mapping[str, Observations], out: Path, half: bool = False) -> float:
    """The weights with ``enough`` in their card. Prints what it costs."""
    enough, weights = find_enough(observed), load_weights(path)
    save_weights(out, replace(weights, card={**weights.card, "enough": f"{enough:.6g}"}), half)
    run, ratio = stages_and_error(observed, enough)
    print(f"a mean spread of {enough:.4f} is enough: {run:.2f} stages a face, {ratio:.3f} of the whole cascade's error")
    return enough
