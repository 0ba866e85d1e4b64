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


def fit_confidence(spread: np.ndarray, right: np.ndarray, steps: int = 50) -> tuple[float, float]:
    """(N,) spreads and (N,) flags → (a, b): logistic regression on log(spread) by Newton's method, slightly damped.

    The slope is kept from going below 0, so that more doubt never means more confidence.
    """
    x = np.stack([np.log(np.maximum(spread, 1e-6)), np.ones(len(spread))], 1)
    w = np.array([1.0, 3.0])
    for _ in range(steps):
        p = 1 / (1 + np.exp(np.clip(x @ w, -50, 50)))
        gradient = x.T @ (p - right) + 1e-3 * w * (-1)  # of the log-likelihood, with a weak pull to 0
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        w = w + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    if w[0] < 0:  # nothing to learn from the spread: the base rate for all
        share = np.clip(right.mean(), 1e-3, 1 - 1e-3)
        w = np.array([0.0, np.log(1 / share - 1)])
    return float(w[0]), float(w[1])


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
