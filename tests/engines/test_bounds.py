"""The passes over H skip tiles that cannot change the result, by bounds: results must be the same bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.nets import arrays, crops, lively
from test_native import TIGHT, eager, errors

from acdc_fast import ACDC
from acdc_fast.engines.native import NativeEngine


def smooth(batch: int, side: int) -> np.ndarray:
    """Crops with wide slopes: neighbouring logits are alike, so most tiles are skipped."""
    y, x = np.mgrid[:side, :side] / np.float32(side)
    waves = [np.sin(5 * x + 3 * y * y + i) * np.cos(4 * y - 2 * x + 2 * i) for i in range(batch)]
    return (0.5 + 0.5 * np.stack(waves)[:, None]).astype(np.float32)


def steep(width: int = 16) -> ACDC:
    """Maps that fall by tens of powers of two, as trained maps do."""
    network = lively(width=width, gain=1.2)
    for layer in network.gtn.transfer.values():
        layer.data.mul_(3 if layer.shape[0] != 5 else 1)
    return network


@pytest.mark.parametrize(("width", "side"), [(8, 32), (16, 40), (16, 96), (16, 128), (32, 56)])
def test_a_mask_made_with_bounds_is_the_same(width: int, side: int) -> None:
    """With all_stages the engine sums all moments and skips no tile; else it skips tiles before the last stage."""
    network, x = steep(width), np.concatenate([smooth(2, side), crops(1, side)])
    engine = NativeEngine(network.config, arrays(network), threads=1)
    every, last = engine(x, all_stages=True), engine(x)
    np.testing.assert_array_equal(last.mask, every.mask)
    np.testing.assert_array_equal(last.pose, every.pose)
    for name, points in every.landmarks.items():
        np.testing.assert_array_equal(last.landmarks[name], points)


def test_these_maps_are_deep() -> None:
    """For most maps the least value counts as 0 (`deep` in landmarks.h), for others not. Both are tested here."""
    network, x = steep(), smooth(2, 64)
    seen: list[torch.Tensor] = []
    network.unets[0].register_forward_hook(lambda module, given, out: seen.append(network.gtn.logits(out)))
    network.unets[0](torch.from_numpy(x))
    logits = seen[0].detach().flatten(2) / np.log(2)
    share = float((logits.amax(2) - logits.amin(2) > 25).float().mean())
    assert 0.2 < share < 0.95, share


@pytest.mark.parametrize("side", [32, 88, 128])
def test_extremes_are_found(side: int) -> None:
    """A missed greatest logit would raise levels, and the mask, above 1."""
    network, x = steep(), smooth(2, side)
    got, truth = NativeEngine(network.config, arrays(network))(x, all_stages=True).stages, eager(network, x)
    assert got is not None
    for ours, theirs in zip(got, truth, strict=True):
        assert ours.mask.max() <= 1 + 1e-6 and ours.mask.min() >= 0
        for name, error in errors(ours, theirs).items():
            assert error <= 5 * TIGHT[name], (name, error)  # logits are three times as large as there


@pytest.mark.parametrize("threads", [2, 3])
def test_what_other_threads_have_seen_changes_nothing(threads: int) -> None:
    network, x = steep(), smooth(3, 64)
    one = NativeEngine(network.config, arrays(network), threads=1)(x, all_stages=True)
    more = NativeEngine(network.config, arrays(network), threads=threads)(x, all_stages=True)
    assert one.stages is not None and more.stages is not None
    for a, b in zip(one.stages, more.stages, strict=True):
        np.testing.assert_array_equal(a.mask, b.mask)
        for name in a.landmarks:
            np.testing.assert_array_equal(a.covariance[name], b.covariance[name])


@pytest.mark.parametrize("threads", [1, 2])
def test_where_earlier_faces_peaked_changes_nothing(threads: int) -> None:
    """The first pass begins at the pixels where maps were greatest in the stage or the face before."""
    network, x = steep(), np.concatenate([smooth(2, 64), smooth(1, 64)[..., ::-1], crops(1, 64)])
    used = NativeEngine(network.config, arrays(network), threads=threads)
    for face in np.concatenate([x, x[::-1]])[:, None]:
        fresh = NativeEngine(network.config, arrays(network), threads=threads)(face)
        told = used(face)
        np.testing.assert_array_equal(told.mask, fresh.mask)
        for name in fresh.landmarks:
            np.testing.assert_array_equal(told.covariance[name], fresh.covariance[name])
