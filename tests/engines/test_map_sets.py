"""A stage computes only the maps that it needs, and without a mask in one pass. Every choice gives the same results."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from helpers.nets import arrays, crops, lively
from test_bounds import smooth, steep
from test_native import HOSTILE, ROUNDINGS, TIGHT, eager, errors, excess

from acdc_fast.engines.native import NativeEngine
from acdc_fast.errors import InputError
from acdc_fast.types import Prediction

MARKUPS = ("2d98", "2d68", "2d5", "3d68")
CHOICES = [choice for count in (1, 2, 4) for choice in combinations(MARKUPS, count)]


def same(got: Prediction, whole: Prediction, markups: tuple[str, ...]) -> None:
    """The same bits for these markups, and nothing of others."""
    assert tuple(got.landmarks) == tuple(got.covariance) == markups
    for name in markups:
        np.testing.assert_array_equal(got.landmarks[name], whole.landmarks[name])
        np.testing.assert_array_equal(got.covariance[name], whole.covariance[name])
    for mine, theirs in ((got.pose, whole.pose), (got.mask, whole.mask)):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("masked", [None, ("2d5",), ("3d68",), ("2d68", "3d68")])
@pytest.mark.parametrize("variant", ["ac", "ac-dc"])
def test_any_choice_gives_the_same_bits(variant: str, masked: tuple[str, ...] | None) -> None:
    network = lively(width=8, stages=3, variant=variant, mask_markups=masked)
    x = np.concatenate([smooth(2, 40), crops(1, 40)])
    engine = NativeEngine(network.config, arrays(network), threads=2)
    for options in ({"mask": True}, {"mask": False}, {"all_stages": True}, {"stages": 2, "mask": False}):
        whole: Prediction = engine(x, **options)  # type: ignore[arg-type]
        for choice in CHOICES:
            got = engine(x, markups=choice, **options)  # type: ignore[arg-type]
            same(got, whole, choice)
            for mine, theirs in zip(got.stages or (), whole.stages or (), strict=True):
                same(mine, theirs, choice)
    ends = engine(x, enough=0.2)  # the mean spread is that of all maps, whichever are asked for
    same(engine(x, enough=0.2, markups=("2d68",)), ends, ("2d68",))
    np.testing.assert_array_equal(engine(x, enough=0.2, markups=("2d68",)).depth, ends.depth)


@pytest.mark.parametrize(("width", "side"), [(8, 32), (12, 40), (32, 72)])
@pytest.mark.parametrize("masked", [None, ("2d68",)])
def test_one_pass_agrees_with_float64(width: int, side: int, masked: tuple[str, ...] | None) -> None:
    network, x = lively(width=width, stages=2, mask_markups=masked), np.concatenate([crops(1, side), smooth(1, side)])
    truth = eager(network, x)[-1]
    got = NativeEngine(network.config, arrays(network))(x, mask=False)
    for name, error in errors(Prediction(got.landmarks, got.covariance, got.pose, truth.mask), truth).items():
        assert error <= TIGHT[name], (name, error)


@pytest.mark.parametrize("kind", ["near one-hot", "steep"])
def test_one_pass_with_hostile_weights(kind: str) -> None:
    """Logits rise by tens or thousands of powers of two along the rows, so the reference is raised again and again."""
    network = steep() if kind == "steep" else lively(width=16, stages=2)
    with torch.no_grad():
        HOSTILE.get(kind, lambda n: None)(network)
    x = np.concatenate([crops(2), smooth(1, 32), np.flip(smooth(1, 32), 2)])
    engine = NativeEngine(network.config, arrays(network))
    whole, got = engine(x, stages=2, all_stages=True), engine(x, stages=2, mask=False)
    assert whole.stages is not None
    last = Prediction(got.landmarks, got.covariance, got.pose, whole.stages[-1].mask)
    if network.config.stages != 2:
        for name, error in errors(last, whole.stages[-1]).items():
            assert error <= TIGHT[name], (name, error)
        return
    told = excess(network, x, (whole.stages[0], last))
    assert max(told.values()) <= ROUNDINGS, (kind, told)


def test_one_pass_does_not_depend_on_threads_or_on_the_face_before() -> None:
    network = steep()
    x = np.concatenate([smooth(3, 64), crops(2, 64)])
    one = NativeEngine(network.config, arrays(network), threads=1)
    together = one(x, mask=False)
    for i in (3, 0, 4):
        alone = NativeEngine(network.config, arrays(network), threads=3)(x[i : i + 1], mask=False)
        again = one(x[i : i + 1], mask=False)
        for name in MARKUPS:
            for other in (alone, again):
                np.testing.assert_array_equal(other.landmarks[name][0], together.landmarks[name][i])
                np.testing.assert_array_equal(other.covariance[name][0], together.covariance[name][i])


def test_many_choices_do_not_pile_up() -> None:
    """More sets of maps than the engine keeps: still the same results."""
    network, x = lively(width=8, stages=2), crops(1)
    engine = NativeEngine(network.config, arrays(network), threads=1)
    whole = engine(x)
    for i in range(40):
        flags = [j % 239 == i or j == 238 for j in range(239)]
        got: Any = engine._engine.run(x, 2, False, True, 0.0, flags)
        mean = np.concatenate([whole.landmarks[m] for m in MARKUPS], 1)
        np.testing.assert_array_equal(got["mean"][0][:, flags], mean[:, flags])


def test_the_door() -> None:
    network, x = lively(width=8, stages=1), crops(1)
    engine = NativeEngine(network.config, arrays(network))._engine
    for flags in ([True] * 238, [True] * 240, [False] * 239):
        with pytest.raises((ValueError, InputError), match="asked must"):
            engine.run(x, 1, False, True, 0.0, flags)
