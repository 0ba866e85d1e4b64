"""Backends that can serve a model here, and what agreement of two predictions means."""

from __future__ import annotations

import numpy as np
from helpers.small import small_weights

from acdc_fast import BackendUnavailable, Model, Prediction

#: The contract's tolerances in float32: crop units and degrees.
UNITS, DEGREES = 2e-5, 0.01


def backends() -> list[str]:
    found = []
    for name in ("native", "eager", "gpu"):
        try:
            Model(small_weights(stages=1), backend=name)
            found.append(name)
        except BackendUnavailable as error:
            print(f"not tested here: {error}")
    return found


BACKENDS = backends()


def compare(got: Prediction, expected: Prediction) -> None:
    assert list(got.landmarks) == list(expected.landmarks)
    for name, points in expected.landmarks.items():
        assert np.abs(np.asarray(got.landmarks[name]) - points.numpy()).max() < UNITS
        assert np.abs(np.asarray(got.covariance[name]) - expected.covariance[name].numpy()).max() < UNITS
    assert (got.pose is None) == (expected.pose is None)
    if expected.pose is not None:
        assert np.abs(np.asarray(got.pose) - expected.pose.numpy()).max() < DEGREES
    # Φ divides by the range of a map. An untrained network has nearly flat maps, so it loses the most digits.
    assert np.abs(np.asarray(got.mask) - expected.mask.numpy()).max() < 2e-3
