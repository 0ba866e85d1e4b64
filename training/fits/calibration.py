"""Fits the confidence of landmarks: the chance that a point is right, from the spread of its attention map.

First, linear regression gives the logarithm of the error to expect. Its inputs are the logarithms of two spreads: that
of the point's own map, and the mean of all maps of the face. Each point has a level of its own, because points of the
jaw have larger errors than those of the eyes at the same spread. Then logistic regression on that expected error gives
the chance that the point lies within 5 % of the face box's side of its label (`acdc_fast.readout.confidence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError
from acdc_fast.metadata import MOST
from acdc_fast.photo.coordinates import BOX_SCALE
from acdc_fast.readout.confidence import confidence, narrowest
from acdc_fast.weights import load_weights, save_weights

from ..observations import Observations

#: A point is right when it lies within this part of the crop's side: 5 % of the box's.
NEAR = 0.05 / BOX_SCALE
#: Smaller errors, crop units, count as this: labels are whole pixels.
MIN_ERROR = 1e-3
#: A markup with fewer labelled points than this keeps its confidence.
MIN_POINTS = 100


def fit_confidence(spread: np.ndarray, mean_spread: np.ndarray, error: np.ndarray) -> tuple[float, ...]:
    """(N, L) spreads, (N,) mean spreads of the faces, (N, L) errors, all in crop units → the numbers of `confidence`.

    Errors of NaN are unknown and left out. No slope is negative: a larger spread never means less error.
    """
    from scipy.optimize import lsq_linear

    inputs = np.stack([_log(spread), np.broadcast_to(_log(mean_spread)[:, None], spread.shape)])
    errors, known = np.log(np.maximum(error, MIN_ERROR)), np.isfinite(error)
    if not known.any(0).all():
        raise InputError(f"point {int(np.argmin(known.any(0)))} has no label on any face: nothing to fit")
    centre, level = (np.nanmean(np.where(known, values, np.nan), -2) for values in (inputs, errors))
    rows = (inputs - centre[:, None])[:, known].T
    slopes = lsq_linear(rows, (errors - level)[known], (0, np.inf), method="bvls").x
    expected = level + np.tensordot(slopes, inputs - centre[:, None], 1)
    steep, offset = _logistic(expected[known], (error < NEAR)[known])
    points = steep * (level - slopes @ centre) + offset
    return (*(float(steep * s) for s in slopes), *map(float, points))


def _log(spread: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.maximum(spread, 1e-6)))


def _logistic(x: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """(N,) numbers and flags → (a, b) of the logistic function 1/(1 + exp(a·x + b)), by maximum likelihood.

    If a would be negative, it is 0, and b gives the base rate.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    centre = float(x.mean())

    def cost(w: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean negative log-likelihood with a weak ridge penalty, and its gradient. Centred for conditioning."""
        z = w[0] * (x - centre) + w[1]
        excess = right - expit(-z)
        value = np.logaddexp(0, np.where(right, z, -z)).mean() + 5e-7 * w @ w
        return value, np.array([(excess * (x - centre)).mean(), excess.mean()]) + 1e-6 * w

    share = np.clip(right.mean(), 1e-4, 1 - 1e-4)
    base = float(np.log(1 / share - 1))
    a, b = minimize(cost, np.array([0.0, base]), jac=True, method="BFGS").x
    return (float(a), float(b - a * centre)) if a > 0 else (0.0, base)


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Mean over equal-count bins of |mean confidence − share right|."""
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(len(p) * abs(confidence[p].mean() - right[p].mean()) for p in parts) / len(confidence))


def gather(seen: Sequence[Observations], markup: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, L) spreads, (N,) mean spreads and (N, L) errors, crop units, of the labelled faces that were found."""
    spreads, mean_spreads, errors = [], [], []
    for observed in seen:
        if markup not in observed.points[-1]:
            continue
        target, known = observed.labelled(markup)
        found = ~observed.missed[known]
        if not found.any():
            continue
        known, target = known[found], target[found]
        error = np.linalg.norm(observed.points[-1][markup][known] - target, axis=2)
        errors.append(error / observed.side[known, None])
        spreads.append(observed.spread[markup][known])
        mean_spreads.append(observed.mean_spreads[-1][known])
    if not spreads:
        return np.zeros((0, 0)), np.zeros(0), np.zeros((0, 0))
    return np.concatenate(spreads), np.concatenate(mean_spreads), np.concatenate(errors)


def calibrate(path: Path, seen: Sequence[Observations], out: Path, half: bool = False) -> None:
    """Writes the weights with the confidence fitted to these observations. Markups without labels keep theirs."""
    weights = load_weights(path)
    calibration = dict(weights.calibration)
    for markup in weights.config.order:
        spread, mean_spread, error = gather(seen, markup)
        if error.size >= MIN_POINTS:
            fitted = calibration[markup] = fit_confidence(spread, mean_spread, error)
            right = error < NEAR
            ece = expected_calibration_error(confidence(spread, mean_spread, fitted).ravel(), right.ravel())
            share = f"{right.mean():.1%} of {error.size} points right"
            if max(map(abs, fitted)) > MOST:
                raise InputError(f"--calibrate: no confidence of {markup} fits these faces: {share}")
            print(f"{markup}: {share}; calibration error on these same faces {ece:.3f}")
    card = dict(weights.card)
    spreads = np.concatenate([narrowest(o.spread.values())[~o.missed] for o in seen])
    if len(spreads):  # `acdc_fast.readout.orientation` reads it
        card["narrowest_spread"] = f"{np.median(spreads):.5f}"
    if not calibration:
        raise InputError(f"--calibrate: too few labelled points (under {MIN_POINTS}) of every markup of the weights")
    save_weights(out, replace(weights, calibration=calibration, card=card), half)
