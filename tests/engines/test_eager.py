"""The eager engine gives the module's results, as tensors or arrays like its input."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: no eager engine")

from helpers.small import arrays_of, small_network  # noqa: E402

from acdc_fast.engines.eager import EagerEngine  # noqa: E402
from acdc_fast.errors import BackendUnavailable, InputError  # noqa: E402

CROPS = np.random.default_rng(0).random((3, 1, 40, 40), np.float32)


@pytest.mark.parametrize("variant", ["ac", "ac+pose", "ac-dc"])
def test_agrees_with_the_module(variant: str) -> None:
    network = small_network(variant=variant)
    engine = EagerEngine(network.config, arrays_of(network))
    got = engine(CROPS, all_stages=True)
    with torch.no_grad():
        expected = network(torch.from_numpy(CROPS), all_stages=True)
    assert len(got.stages) == 3 and isinstance(got.landmarks["2d68"], np.ndarray)
    for mine, theirs in zip((got, *got.stages), (expected, *expected.stages), strict=True):
        for name in network.config.order:
            assert np.array_equal(mine.landmarks[name], theirs.landmarks[name].numpy())
            assert np.array_equal(mine.covariance[name], theirs.covariance[name].numpy())
        assert (mine.pose is None) == (variant == "ac")
        assert mine.pose is None or np.array_equal(mine.pose, theirs.pose.numpy())
        assert np.array_equal(mine.mask, theirs.mask.numpy())


def test_first_stages_alone_are_the_same_stages() -> None:
    network = small_network()
    engine = EagerEngine(network.config, arrays_of(network))
    whole = engine(CROPS, all_stages=True)
    for stages in (1, 2, 3):
        cut = engine(CROPS, stages=stages)
        assert np.array_equal(cut.landmarks["2d98"], whole.stages[stages - 1].landmarks["2d98"])
    assert engine(CROPS, mask=False).mask is None
    for bad in (0, 4, True, 1.0):
        with pytest.raises(InputError, match="from 1 to 3"):
            engine(CROPS, stages=bad)


def test_dtypes() -> None:
    network = small_network()
    exact = EagerEngine(network.config, arrays_of(network), dtype="float64")(CROPS)
    assert exact.landmarks["2d68"].dtype == np.float64
    half = EagerEngine(network.config, arrays_of(network), dtype="bfloat16")(CROPS)
    assert half.landmarks["2d68"].dtype == np.float32
    # bfloat16 keeps 8 bits; an untrained net's maps are flat, so the means move little.
    assert 0 < np.abs(half.landmarks["2d68"] - exact.landmarks["2d68"]).max() < 0.02
    with pytest.raises(BackendUnavailable, match="int8"):
        EagerEngine(network.config, arrays_of(network), dtype="int8")


def test_threads_are_put_back() -> None:
    network = small_network()
    before = torch.get_num_threads()
    EagerEngine(network.config, arrays_of(network), threads=1)(CROPS)
    assert torch.get_num_threads() == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: the refusal cannot be seen")
def test_no_gpu_is_said() -> None:
    network = small_network()
    with pytest.raises(BackendUnavailable, match="no GPU"):
        EagerEngine(network.config, arrays_of(network), device="cuda")
