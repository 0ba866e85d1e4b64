"""Confidence of landmarks: what the spread of an attention map says of the error to expect.

confidence = 1 / (1 + exp(a·log(spread) + b)) is the probability, on data not trained on, that a point lies within
5 % of the face box's side of its label; spread is the root of the covariance's trace in crop units.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError
from acdc_fast.geometry import BOX_SCALE
from acdc_fast.weights import Weights, load_weights, save_weights

from .observations import Observations

#: A point is right when it lies within this part of the crop's side: 5 % of the box's.
NEAR = 0.05 / BOX_SCALE
#: Points of a markup from which its confidence is fitted.
ENOUGH = 100


def fit_confidence(spread: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """(N,) spreads and (N,) flags → (a, b) of the largest likelihood: logistic regression on log(spread).

    Where less spread would mean less confidence, a is 0 and all points get the base rate.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    x = np.log(np.maximum(spread, 1e-6))
    centre = float(x.mean())

    def cost(w: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean negative log-likelihood with a weak pull to 0, and its gradient; centred for conditioning."""
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


def gather(seen: Sequence[Observations], markup: str) -> tuple[np.ndarray, np.ndarray]:
    """Spreads (crop units) and whether the point was right, of all points of a markup on faces that were found."""
    spreads, rights = [], []
    for observed in seen:
        if markup not in observed.points[-1]:
            continue
        target, known = observed.labelled(markup)
        found = ~observed.missed[known]
        if not found.any():
            continue
        known, target = known[found], target[found]
        gap = np.linalg.norm(observed.points[-1][markup][known] - target, axis=2) / observed.side[known, None]
        spreads.append(observed.spread[markup][known].ravel())
        rights.append((gap < NEAR).ravel())
    if not spreads:
        return np.zeros(0), np.zeros(0, bool)
    return np.concatenate(spreads), np.concatenate(rights)


def calibrate(path: Path, seen: Sequence[Observations], out: Path) -> dict[str, tuple[float, float]]:
    """Writes the weights with the confidence fitted to these observations; markups without labels keep theirs."""
    weights = load_weights(path)
    found = dict(weights.calibration)
    for markup in weights.config.order:
        spread, right = gather(seen, markup)
        if len(spread) >= ENOUGH:
            found[markup] = fit_confidence(spread, right)
            a, b = found[markup]
            error = expected_calibration_error(1 / (1 + np.exp(a * np.log(np.maximum(spread, 1e-6)) + b)), right)
            print(f"{markup}: a {a:.3f}, b {b:.3f}, {right.mean():.1%} of {len(right)} points right, ECE {error:.3f}")
    if not found:
        raise InputError(f"--calibrate: too few labelled points (under {ENOUGH}) of every markup of the weights")
    save_weights(out, Weights(weights.config, weights.arrays, weights.markups, found, weights.card))
    print(json.dumps(found))
    return found
