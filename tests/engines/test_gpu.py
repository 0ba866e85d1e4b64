"""The whole GPU engine, on a GPU or on CPU tensors in Triton's interpreter, against the eager network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from acdc_fast.config import ACDCConfig
from acdc_fast.engines.eager import EagerEngine
from acdc_fast.engines.gpu import GPUEngine
from acdc_fast.errors import BackendUnavailable, InputError
from acdc_fast.network import ACDC
from acdc_fast.ops.allocate import poison

pytest.importorskip("triton", reason="Triton is not installed")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # there by Triton's interpreter, see conftest.py


def weights(config: ACDCConfig) -> dict[str, np.ndarray]:
    """Random weights; the batch norms are no identities."""
    torch.manual_seed(3)
    state = ACDC(config).state_dict()
    for name, value in state.items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif name.startswith("gtn.transfer"):
            value.mul_(6)  # maps with peaks, as trained ones have
    return {name: value.numpy() for name, value in state.items()}


def crops_of(batch: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).random((batch, 1, side, side), np.float32)


def both(config: ACDCConfig, dtype: str, batch: int, **call: object) -> tuple:
    arrays, crops = weights(config), crops_of(batch, 32 * config.patch)
    truth = EagerEngine(config, arrays, dtype="float64")(crops, **call)
    with poison():
        return truth, GPUEngine(config, arrays, dtype=dtype, device=DEVICE)(crops, **call)


CASES = {
    "ac-dc": ACDCConfig(width=8, stages=2, markups=("2d5", "3d68"), mask_markups=("2d5",)),
    "ac": ACDCConfig(width=12, stages=2, markups=("2d29", "2d5"), variant="ac"),
    "patches": ACDCConfig(width=8, stages=2, markups=("2d5", "3d68"), mask_markups=("3d68",), patch=3),
}


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_eager_network(case: str) -> None:
    """The contract's tolerance: 2e-5 in crop units, 0.01 degrees; covariance and mask to the same rounding."""
    truth, ours = both(CASES[case], "float32", batch=2 if case == "ac-dc" else 1, all_stages=True)
    assert len(ours.stages) == 2
    for a, b in zip(truth.stages, ours.stages, strict=True):
        for name in a.landmarks:
            np.testing.assert_allclose(b.landmarks[name], a.landmarks[name], atol=2e-5, rtol=0)
            np.testing.assert_allclose(b.covariance[name], a.covariance[name], atol=2e-5, rtol=0)
        np.testing.assert_allclose(b.mask, a.mask, atol=2e-4, rtol=0)  # flat maps divide rounding by little
        assert (a.pose is None) == (b.pose is None)
        if a.pose is not None:
            np.testing.assert_allclose(b.pose, a.pose, atol=0.01, rtol=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_errs_no_more_than_twice_the_eager_network_does(dtype: str) -> None:
    config = CASES["ac-dc"]
    truth, ours = both(config, dtype, batch=1, mask=False)
    network = ACDC(config).to(getattr(torch, dtype)).eval()
    network.load_state_dict({k: torch.from_numpy(v) for k, v in weights(config).items()})
    crops = torch.from_numpy(crops_of(1))
    with torch.inference_mode():
        plain = network(crops.to(getattr(torch, dtype)))
    assert ours.mask is None
    for name, points in truth.landmarks.items():
        eager = np.abs(plain.landmarks[name].double().numpy() - points)
        error = np.abs(ours.landmarks[name] - points)
        assert np.sqrt((error**2).mean()) <= 2 * np.sqrt((eager**2).mean())


def test_stages_tensors_and_no_crops() -> None:
    config = CASES["ac-dc"]
    engine = GPUEngine(config, weights(config), dtype="float32", device=DEVICE)
    none = engine(torch.empty(0, 1, 32, 32), all_stages=True)
    assert none.landmarks["2d5"].shape == (0, 5, 2) and none.mask.shape == (0, 1, 32, 32) and none.pose.shape == (0, 3)
    one = engine(torch.rand(1, 1, 32, 32), stages=1, mask=False)
    assert isinstance(one.pose, torch.Tensor) and one.pose.shape == (1, 3) and one.mask is None
    with pytest.raises(InputError, match="multiple of 8"):
        engine(torch.rand(1, 1, 36, 36))
    config = CASES["patches"]
    engine = GPUEngine(config, weights(config), dtype="float32", device=DEVICE)
    assert engine(torch.empty(0, 1, 96, 96)).mask.shape == (0, 1, 32, 32)
    with pytest.raises(InputError, match="multiple of 24 from 96"):
        engine(torch.rand(1, 1, 104, 104))


def test_says_why_it_cannot_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    config = CASES["ac-dc"]
    with pytest.raises(BackendUnavailable, match="float64"):
        GPUEngine(config, weights(config), dtype="float64", device=DEVICE)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(BackendUnavailable, match="native"):
        GPUEngine(config, weights(config), device="cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendUnavailable, match="driver"):
        GPUEngine(config, weights(config), device="cuda")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match="Triton is not installed"):
        GPUEngine(config, weights(config), device="cuda")


def test_a_graph_that_cannot_be_captured_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    config = CASES["ac-dc"]
    engine = GPUEngine(config, weights(config), dtype="float32", device=DEVICE)

    def refuse(*given: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    engine.ungraphed = None
    monkeypatch.setattr(engine, "_capture", refuse)
    crops = np.zeros((1, 1, 32, 32), np.float32)
    with pytest.warns(RuntimeWarning, match="without a CUDA graph"):
        first = engine(crops, stages=1)
    assert "not permitted" in engine.ungraphed
    np.testing.assert_array_equal(engine(crops, stages=1).landmarks["2d5"], first.landmarks["2d5"])
