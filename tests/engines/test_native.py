"""The native engine against the eager network in float64: values, variants, hostile weights, bad input."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from helpers.nets import arrays, crops, lively

from acdc_fast import ACDC, ACDCConfig
from acdc_fast.engines.native import NativeEngine
from acdc_fast.errors import BackendUnavailable, InputError
from acdc_fast.types import Prediction

#: Tolerances: crop units, their squares, degrees; and for the mask, whose values lie in [0, 1].
CONTRACT = {"landmarks": 2e-5, "covariance": 2e-5, "pose": 0.01, "mask": 2e-4}
#: For well-conditioned networks: ten times the float32 errors seen (1e-7). They still catch small faults: a batch norm
#: with epsilon 2e-5 instead of 1e-5 moves landmarks by 4e-6 and the mask by 3e-5.
TIGHT = {"landmarks": 2e-6, "covariance": 2e-6, "pose": 1e-4, "mask": 2e-5}


def errors(got: Prediction, truth: Prediction, measure: Callable[[np.ndarray], Any] = np.max) -> dict[str, float]:
    """The largest difference of one stage, or another ``measure`` of the differences' magnitudes."""

    def worst(a: Any, b: Any) -> float:
        difference = np.abs(np.asarray(a, np.float64) - np.asarray(b))
        assert not np.isnan(difference).any()
        return float(measure(difference))

    return {
        "landmarks": max(worst(got.landmarks[k], truth.landmarks[k]) for k in truth.landmarks),
        "covariance": max(worst(got.covariance[k], truth.covariance[k]) for k in truth.landmarks),
        "pose": 0.0 if truth.pose is None else worst(got.pose, truth.pose),
        "mask": worst(got.mask, truth.mask),
    }


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(difference**2)))


def eager(network: ACDC, x: np.ndarray, dtype: torch.dtype = torch.float64) -> tuple[Prediction, ...]:
    """Plain torch, because our fused ops compute in float32."""
    with torch.no_grad(), patch.dict(os.environ, ACDC_BACKEND="reference"):
        return copy.deepcopy(network).to(dtype)(torch.from_numpy(x).to(dtype), all_stages=True).stages


def check(network: ACDC, x: np.ndarray, **engine: Any) -> None:
    got = NativeEngine(network.config, arrays(network), **engine)(x, all_stages=True)
    truth = eager(network, x)
    assert got.stages is not None and len(got.stages) == len(truth)
    for ours, theirs in zip(got.stages, truth, strict=True):
        assert (ours.pose is None) == (theirs.pose is None)
        for name, error in errors(ours, theirs).items():
            assert error <= TIGHT[name], (name, error)


def test_a_small_fault_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acdc_fast.engines.common.BATCH_NORM_EPSILON", 2e-5)
    with pytest.raises(AssertionError, match="landmarks"):
        check(lively(width=8), crops())


@pytest.mark.parametrize(
    ("width", "side"),
    [(4, 32), (8, 40), (12, 48), (16, 32), (16, 64), (16, 88), (20, 32), (32, 40), (48, 32), (64, 32)],
)
def test_agrees_with_float64(width: int, side: int) -> None:
    check(lively(width=width), crops(2, side))


@pytest.mark.parametrize(
    ("patch", "width", "side"), [(2, 16, 64), (2, 8, 112), (3, 16, 96), (3, 20, 120), (4, 12, 160)]
)
def test_patches(patch: int, width: int, side: int) -> None:
    check(lively(width=width, patch=patch, stages=3), crops(2, side))


def test_agrees_at_full_resolution() -> None:
    check(lively(width=16), crops(1, 128))


@pytest.mark.parametrize("variant", ["ac", "ac+pose", "ac-dc"])
@pytest.mark.parametrize("stages", [1, 2, 3])
def test_variants(variant: str, stages: int) -> None:
    check(lively(width=8, variant=variant, stages=stages), crops())


@pytest.mark.parametrize(
    "markups", [("2d98",), ("2d68", "2d5"), ("2d98", "2d68", "2d29", "2d5"), ("3d68",), ("2d5", "3d68")]
)
def test_markups(markups: tuple[str, ...]) -> None:
    variant = "ac-dc" if "3d68" in markups else "ac"
    check(lively(width=16, variant=variant, markups=markups, stages=2), crops())


@pytest.mark.parametrize("masked", [("2d5",), ("3d68",), ("2d98", "3d68")])
def test_mask_of_some_markups(masked: tuple[str, ...]) -> None:
    check(lively(width=8, mask_markups=masked), crops())


@pytest.mark.parametrize("fraction", [0.25, 0.5, 1.0])
def test_stream_fraction(fraction: float) -> None:
    check(lively(width=16, stream_fraction=fraction, stages=2), crops())


def test_fewer_stages_and_no_mask() -> None:
    network, x = lively(width=8, stages=4), crops()
    engine = NativeEngine(network.config, arrays(network))
    all_of_them, two = engine(x, all_stages=True), engine(x, stages=2, mask=False)
    assert two.mask is None and two.stages is None and all_of_them.stages is not None
    # Without a mask the sums have another reference: errors of the exponential's argument, below 2⁻²⁰ of a sum.
    for name, points in two.landmarks.items():
        np.testing.assert_allclose(points, all_of_them.stages[1].landmarks[name], atol=1e-6)
        np.testing.assert_allclose(two.covariance[name], all_of_them.stages[1].covariance[name], atol=1e-6)
    np.testing.assert_array_equal(engine(x).mask, all_of_them.mask)


def test_an_empty_batch() -> None:
    network = lively(width=8)
    p = NativeEngine(network.config, arrays(network))(crops(0))
    assert p.landmarks["2d98"].shape == (0, 98, 2) and p.pose.shape == (0, 3) and p.mask.shape == (0, 1, 32, 32)


HOSTILE = {
    "large logits": lambda n: [t.mul_(30) for t in n.gtn.transfer.values()],
    "near one-hot": lambda n: [n.gtn.transfer[m].mul_(3000) for m in ("2d98", "3d68")],
    "some maps constant": lambda n: [t[::3].zero_() for t in n.gtn.transfer.values()],
    "all maps constant": lambda n: [t.zero_() for t in n.gtn.transfer.values()],
    "denormal weights": lambda n: [m.weight.mul_(1e-39) for m in n.modules() if isinstance(m, torch.nn.Conv2d)],
    "denormal logits": lambda n: [t.mul_(1e-39) for t in n.gtn.transfer.values()],
    "logits of too small a range": lambda n: [t.mul_(1e-30) for t in n.gtn.transfer.values()],
    "dead channels": lambda n: [m.bias.sub_(3) for m in n.modules() if isinstance(m, torch.nn.BatchNorm2d)],
}


#: How far a float32 result may lie from the float64 one. The unit: how the result changes when each weight is wrong by
#: up to one unit in the last place. A sum of n = 9·64 products rounds n times; its error is about √n / 2 = 12 of these
#: units. A second stage adds as much again. Seen on six random networks: up to 19.6 in scalar code (one running sum),
#: 12.7 with AVX-512 (sixteen running sums).
ROUNDINGS = 24
ULP = 2.0**-23


def last_place(network: ACDC, seed: int) -> ACDC:
    """The network in float64 with every weight and statistic wrong by up to one unit in float32's last place."""
    generator, wrong = torch.Generator().manual_seed(seed), copy.deepcopy(network).double()
    with torch.no_grad():
        for value in wrong.state_dict().values():
            if value.is_floating_point():
                value.mul_(1 + ULP * (2 * torch.rand(value.shape, generator=generator, dtype=torch.float64) - 1))
    return wrong


def values(stage: Prediction) -> dict[str, np.ndarray]:
    """The results of a stage in float64, with all markups joined."""
    joined = {k: np.concatenate([np.asarray(v, np.float64) for v in getattr(stage, k).values()], 1)
              for k in ("landmarks", "covariance")}  # fmt: skip
    return joined | {k: np.asarray(getattr(stage, k), np.float64) for k in ("pose", "mask")}


def excess(network: ACDC, x: np.ndarray, got: tuple[Prediction, ...]) -> dict[str, float]:
    """The largest error of both stages beyond the contract, in units of what rounding the weights explains."""
    truth, wrong = eager(network, x), [eager(last_place(network, seed), x) for seed in range(8)]
    worst = dict.fromkeys(CONTRACT, 0.0)
    for stage, exact in enumerate(truth):
        ours, theirs, drawn = values(got[stage]), values(exact), [values(w[stage]) for w in wrong]
        for name, tolerance in CONTRACT.items():
            assert not np.isnan(ours[name]).any()
            explained = np.max([np.abs(d[name] - theirs[name]) for d in drawn], axis=0)
            beyond = np.abs(ours[name] - theirs[name]) - tolerance
            worst[name] = max(worst[name], float((beyond / np.maximum(explained, 1e-12)).max()))
    return worst


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_weights(kind: str) -> None:
    """Within the contract or, where float32 cannot answer (one ulp of a logit of 10⁴ moves a map by 10⁻³), within a
    few roundings of the weights: each value by its own measure, which no other float32 run has a part in."""
    network, x = lively(width=16, stages=2), crops(4)
    with torch.no_grad():
        HOSTILE[kind](network)
    got = NativeEngine(network.config, arrays(network))(x, all_stages=True).stages
    assert got is not None
    told = excess(network, x, got)
    assert max(told.values()) <= ROUNDINGS, (kind, told)


def test_that_measure_sees_a_wrong_weight() -> None:
    """Every weight is wrong by 2⁻¹⁵ of itself: far more than rounding, less than a 16-bit format."""
    network, x = lively(width=16, stages=2), crops(4)
    with torch.no_grad():
        HOSTILE["near one-hot"](network)
        wrong = {n: (v * (1 + 2.0**-15 * np.sign(v))).astype(np.float32) for n, v in arrays(network).items()
                 if v.dtype == np.float32}  # fmt: skip
    got = NativeEngine(network.config, wrong)(x, all_stages=True).stages
    assert got is not None and excess(network, x, got)["landmarks"] > ROUNDINGS


def test_constant_maps_give_the_middle_and_no_mask() -> None:
    network = lively(width=8, stages=1)
    with torch.no_grad():
        HOSTILE["all maps constant"](network)
    p = NativeEngine(network.config, arrays(network))(crops())
    np.testing.assert_allclose(p.landmarks["2d68"], 0.5, atol=1e-6)
    assert (p.mask == 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bad_pixels_name_their_crop(value: float) -> None:
    network, x = lively(width=8), crops(5)
    x[3, 0, 31, 31] = value
    with pytest.raises(InputError, match="crop 3 "):
        NativeEngine(network.config, arrays(network))(x)


@pytest.mark.parametrize("shape", [(1, 32, 32), (1, 3, 32, 32), (1, 1, 32, 40), (1, 1, 36, 36), (1, 1, 24, 24)])
def test_bad_shapes(shape: tuple[int, ...]) -> None:
    network = lively(width=8)
    engine = NativeEngine(network.config, arrays(network))
    with pytest.raises(InputError, match="crops must"):
        engine(np.zeros(shape, np.float32))
    with pytest.raises(InputError, match="floating"):
        engine(np.zeros((1, 1, 32, 32), np.uint8))
    with pytest.raises(InputError, match="stages"):
        engine(crops(), stages=5)


def test_inputs_of_other_layouts() -> None:
    network, x = lively(width=8, stages=1), crops(4)
    engine = NativeEngine(network.config, arrays(network))
    expected = engine(x).landmarks["2d98"]
    np.testing.assert_array_equal(engine(np.asfortranarray(x)).landmarks["2d98"], expected)
    np.testing.assert_array_equal(engine(x.astype(np.float64)).landmarks["2d98"], expected)
    np.testing.assert_array_equal(engine(x[::2]).landmarks["2d98"], expected[::2])


def test_what_cannot_be_served() -> None:
    network = lively(width=8)
    for dtype in ("float16", "int8"):  # bfloat16: test_bf16.py
        with pytest.raises(BackendUnavailable, match=dtype):
            NativeEngine(network.config, arrays(network), dtype=dtype)
    with pytest.raises(BackendUnavailable, match="unknown instruction set"):
        NativeEngine(network.config, arrays(network), isa="sse9")
    with pytest.raises(InputError, match="threads"):
        NativeEngine(network.config, arrays(network), threads=0)


def test_the_door_checks_weights() -> None:
    from acdc_fast.engines.common import folded_weights
    from acdc_fast.engines.native import native_library

    config = ACDCConfig(width=8, stages=2)
    folded = folded_weights(config, arrays(ACDC(config)))
    common = dict(
        width=8, stages=2, stream_inputs=6, chain_maps=171, solid_maps=68, masked=[True] * 239, pose=True,
        excitation=True, threads=1,
    )  # fmt: skip
    for name in ("0.encode1.weight", "1.up3.bias", "1.stem.weight", "transfer", "pose.weight", "0.excite.bias",
                 "depthwise.1"):  # fmt: skip
        with pytest.raises(InputError, match=f"{name} is missing"):
            native_library().Engine(weights={k: v for k, v in folded.items() if k != name}, **common)
        with pytest.raises(InputError, match=f"{name} has"):
            native_library().Engine(weights={**folded, name: folded[name].ravel()[:-1]}, **common)


@pytest.mark.parametrize("name", ["width", "stages", "stream_inputs", "chain_maps", "solid_maps"])
@pytest.mark.parametrize("value", [-1, 2**31 - 1, -(2**31)])
def test_the_door_bounds_sizes(name: str, value: int) -> None:
    """A size that overflows the count of its weights is told of by its name, not multiplied."""
    from acdc_fast.engines.native import native_library

    sizes = dict(width=8, stages=2, stream_inputs=6, chain_maps=171, solid_maps=68) | {name: value}
    with pytest.raises(InputError, match=f"{name} must lie in"):
        native_library().Engine(masked=[True], pose=True, excitation=True, threads=1, weights={}, **sizes)
