"""Confidence of landmarks: what the spread of an attention map, and of its face's, says of the error to expect.

The logarithm of the error is regressed on those of the point's own spread and of the mean spread of the face, with a
level for each point: jaw lines err more than eyes, whatever the maps say. A logistic regression on that error then
gives the chance that a point lies within 5 % of the face box's side of its label (`acdc_fast.readout.confidence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError
from acdc_fast.photo.coordinates import BOX_SCALE
from acdc_fast.readout.confidence import confidence, narrowest
from acdc_fast.weights import load_weights, save_weights

from ..observations import Observations

#: A point is right when it lies within this part of the crop's side: 5 % of the box's.
NEAR = 0.05 / BOX_SCALE
#: Errors below this, crop units, count as this: labels are whole pixels.
LEAST = 1e-3
#: Points of a markup from which its confidence is fitted.
ENOUGH = 100


def fit_confidence(spread: np.ndarray, face: np.ndarray, gap: np.ndarray) -> tuple[float, ...]:
    """(N, L) spreads, (N,) mean spreads of the faces, (N, L) errors, in crop units → the numbers of `confidence`.

    An error of NaN is unknown, and left out. Where more spread went with less error its slope is 0.
    """
    from scipy.optimize import lsq_linear

    inputs = np.stack([_log(spread), np.broadcast_to(_log(face)[:, None], spread.shape)])
    errors, known = np.log(np.maximum(gap, LEAST)), np.isfinite(gap)
    if not known.any(0).all():
        raise InputError(f"point {int(np.argmin(known.any(0)))} has no label on any face: nothing to fit")
    centre, level = (np.nanmean(np.where(known, values, np.nan), -2) for values in (inputs, errors))
    rows = (inputs - centre[:, None])[:, known].T
    slopes = lsq_linear(rows, (errors - level)[known], (0, np.inf), method="bvls").x
    expected = level + np.tensordot(slopes, inputs - centre[:, None], 1)
    steep, offset = _logistic(expected[known], (gap < NEAR)[known])
    points = steep * (level - slopes @ centre) + offset
    return (*(float(steep * s) for s in slopes), *map(float, points))


def _log(spread: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.maximum(spread, 1e-6)))


def _logistic(x: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """(N,) numbers and flags → (a, b) of 1/(1 + exp(a·x + b)) of the largest likelihood; where a < 0, the base rate."""
    from scipy.optimize import minimize
    from scipy.special import expit

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


def gather(seen: Sequence[Observations], markup: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spreads (N, L), the faces' mean spreads (N,) and errors (N, L), crop units, of the labelled faces found."""
    spreads, faces, gaps = [], [], []
    for observed in seen:
        if markup not in observed.points[-1]:
            continue
        target, known = observed.labelled(markup)
        found = ~observed.missed[known]
        if not found.any():
            continue
        known, target = known[found], target[found]
        gap = np.linalg.norm(observed.points[-1][markup][known] - target, axis=2)
        gaps.append(gap / observed.side[known, None])
        spreads.append(observed.spread[markup][known])
        faces.append(observed.doubts[-1][known])
    if not spreads:
        return np.zeros((0, 0)), np.zeros(0), np.zeros((0, 0))
    return np.concatenate(spreads), np.concatenate(faces), np.concatenate(gaps)


def calibrate(path: Path, seen: Sequence[Observations], out: Path, half: bool = False) -> None:
    """Writes the weights with the confidence fitted to these observations; markups without labels keep theirs."""
    weights = load_weights(path)
    found = dict(weights.calibration)
    for markup in weights.config.order:
        spread, face, gap = gather(seen, markup)
        if gap.size >= ENOUGH:
            found[markup] = fit_confidence(spread, face, gap)
            (own, whole), right = found[markup][:2], gap < NEAR
            error = expected_calibration_error(confidence(spread, face, found[markup]).ravel(), right.ravel())
            share = f"{right.mean():.1%} of {gap.size} points right"
            print(f"{markup}: own {own:.2f}, face {whole:.2f}, {share}, ECE {error:.3f}")
    card = dict(weights.card)
    spreads = np.concatenate([narrowest(o.spread.values())[~o.missed] for o in seen])
    if len(spreads):  # `acdc_fast.readout.orientation` asks for it
        card["narrowest_spread"] = f"{np.median(spreads):.5f}"
    if not found:
        raise InputError(f"--calibrate: too few labelled points (under {ENOUGH}) of every markup of the weights")
    save_weights(out, replace(weights, calibration=found, card=card), half)
