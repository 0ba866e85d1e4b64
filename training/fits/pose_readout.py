"""Fits the polynomial of `acdc_fast.readout.head_pose` to faces of known pose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS
from acdc_fast.readout.head_pose import COMPONENTS, TERMS, Readout, corrected, terms
from acdc_fast.readout.mirror_image import POSE_SIGNS
from acdc_fast.readout.shape_model import principal_components, shapes
from acdc_fast.weights import load_weights, save_weights

from .. import metrics
from ..observations import Observations
from .huber import fit_huber

#: Five faces for each term.
MIN_FACES = 5 * TERMS
#: Ridge penalty of the coefficients; the error of one face, up to `SMALL`, weighs 1.
RIDGE = 0.2
#: Errors count squared below this and linearly above, degrees.
SMALL = 3.0
STEPS = 15
#: A face turned far away has few points in sight, so a fit draws its yaw to what is usual: on rendered faces of other
#: people beyond 75° it was 2.5 to 3.5° too small. So the fit aims beyond: yaws of more than FAR degrees are told
#: larger, by STRETCH of the rest. 0.1 makes them right on faces that the network was trained on, 0.15 on others.
FAR, STRETCH = 60.0, 0.15


def fit_readout(
    pose: np.ndarray, points: np.ndarray, target: np.ndarray, weights: np.ndarray, ridge: float = RIDGE
) -> Readout:
    """(N, 3) Ω and (N, 3) true pose in degrees, (N, L, 2) landmarks, (N,) weights → the polynomial, by `fit_huber`."""
    mean, basis = principal_components(shapes(points), COMPONENTS, weights)
    inputs, missing = terms(pose, points, mean, basis), (target - pose + 180) % 360 - 180
    axes = [fit_huber(inputs, missing[:, k, None, None], weights, ridge, SMALL, STEPS) for k in range(3)]
    return Readout(mean, basis, np.concatenate(axes, 2)[:, 0])


def mirrored(
    pose: np.ndarray, points: np.ndarray, target: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ω, landmarks and true pose of the mirrored faces. ``order``: `Markup.mirror`. The landmarks are mirrored about 0:
    the polynomial does not depend on where the shape lies."""
    return pose * POSE_SIGNS, (points * [-1, 1])[:, order], target * POSE_SIGNS


def stretched(target: np.ndarray) -> np.ndarray:
    """(N, 3) true pose in degrees → the pose to fit to: large yaws are larger (`STRETCH`)."""
    yaw = target[:, :1]
    beyond = np.sign(yaw) * np.maximum(np.abs(yaw) - FAR, 0)
    moved: np.ndarray = target + STRETCH * beyond * [1, 0, 0]
    return moved


def write_readout(
    path: Path, observed: Mapping[str, Observations], out: Path, half: bool = False, ridge: float = RIDGE
) -> None:
    """The weights with the polynomial. All databases have equal weight. Prints the mean absolute error before and
    after."""
    weights = load_weights(path)
    if not weights.config.has_pose:
        raise InputError(f"--pose: {path} has no head pose")
    solid, data = weights.config.solid[0], {}
    for name, seen in observed.items():
        target, known = seen.posed()
        found = ~seen.missed[known]
        known = known[found]
        if len(known):
            data[name] = seen.poses[-1][known], seen.points[-1][solid][known], target[found]
    count = sum(len(target) for _, _, target in data.values())
    if count < MIN_FACES:
        raise InputError(f"--pose: {count} faces of known pose, {MIN_FACES} are needed at least; name more --databases")
    shares = [np.full(len(t), count / len(data) / len(t)) for _, _, t in data.values()]
    both_ways = [*data.values(), *(mirrored(*values, MARKUPS[solid].mirror) for values in data.values())]
    pose, points, target = (np.concatenate(values) for values in zip(*both_ways, strict=True))
    readout = fit_readout(pose, points, stretched(target), np.concatenate([*shares, *shares]) / 2, ridge)
    for name, (omega, landmarks, truth) in data.items():
        both = omega, corrected(omega, landmarks, readout)
        before, after = (metrics.euler_errors(p, truth).mean() for p in both)
        line = f"pose MAE {before:.2f}° by the dense layer, {after:.2f}° with the polynomial"
        print(f"{name}: {line}, {len(truth)} faces")
    save_weights(out, replace(weights, pose=readout), half)
