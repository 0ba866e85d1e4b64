"""The GPU engine with the CUDA kernels, whole, on CPU tensors in the emulator, against the eager network."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from helpers.nets import arrays, crops, lively

from acdc_fast import kernels
from acdc_fast.engines.eager import EagerEngine
from acdc_fast.engines.gpu import GPUEngine
from acdc_fast.errors import BackendUnavailable
from acdc_fast.ops.allocate import poison
from acdc_fast.ops.cuda import launch as cuda_launch
from acdc_fast.ops.cuda import plan as cuda_plan
from acdc_fast.ops.cuda.launch import Compiled

#: A stream each, a mask of one markup alone, no pose and no excitation in the second.
CASES = {
    "ac-dc": {"width": 8, "stages": 2, "markups": ("2d5", "3d68"), "mask_markups": ("2d5",)},
    "ac": {"width": 12, "stages": 2, "markups": ("2d29", "2d5"), "variant": "ac"},
}


DEVICE = "cpu"  # where test_cuda_gpu.py does not run these on a GPU


def engine(case: str, dtype: str, kernels: str = "cuda") -> GPUEngine:
    network = lively(**CASES[case])
    return GPUEngine(network.config, arrays(network), dtype=dtype, device=DEVICE, kernels=kernels)


@pytest.mark.parametrize("shared", [227 << 10, 9 << 10], ids=["one pass", "no strip fits"])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_eager_network(
    emulator: Compiled, monkeypatch: pytest.MonkeyPatch, case: str, shared: int
) -> None:
    """The contract's tolerance: 2e-5 in crop units, 0.01 degrees; covariance and mask to the same rounding."""
    monkeypatch.setattr(cuda_plan, "EMULATED_SHARED", shared)
    network, given = lively(**CASES[case]), crops(1)
    truth = EagerEngine(network.config, arrays(network), dtype="float64")(given, all_stages=True)
    with poison():
        ours = engine(case, "float32")(given, all_stages=True)
    assert truth.stages and ours.stages and len(ours.stages) == 2
    for a, b in zip(truth.stages, ours.stages, strict=True):
        for name in a.landmarks:
            np.testing.assert_allclose(b.landmarks[name], a.landmarks[name], atol=2e-5, rtol=0)
            np.testing.assert_allclose(b.covariance[name], a.covariance[name], atol=2e-5, rtol=0)
        np.testing.assert_allclose(b.mask, a.mask, atol=2e-4, rtol=0)
        assert (a.pose is None) == (b.pose is None)
        if a.pose is not None:
            np.testing.assert_allclose(b.pose, a.pose, atol=0.01, rtol=0)


def test_half_precision_errs_no_more_than_twice_the_eager_network_does(emulator: Compiled) -> None:
    network, given = lively(**CASES["ac-dc"]), crops(1)
    truth = EagerEngine(network.config, arrays(network), dtype="float64")(given, mask=False)
    with torch.inference_mode():
        plain = lively(**CASES["ac-dc"]).half()(torch.from_numpy(given).half())
    ours = engine("ac-dc", "float16")(given, mask=False)
    assert ours.mask is None
    for name, points in truth.landmarks.items():
        eager = np.abs(plain.landmarks[name].double().numpy() - points)
        assert np.sqrt(((ours.landmarks[name] - points) ** 2).mean()) <= 2 * np.sqrt((eager**2).mean())


def test_cuda_is_taken_where_triton_is_absent(emulator: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "triton" else find(name, *a))
    assert kernels.why_not("cpu", torch.float32) is not None
    assert engine("ac", "float32", kernels="auto").kernels == "cuda"
    with pytest.raises(BackendUnavailable, match="Triton is not installed.*pip install triton"):
        engine("ac", "float32", kernels="triton")


def test_neither_is_told_with_both_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "triton" else find(name, *a))
    monkeypatch.setattr(cuda_launch, "current", lambda: "_cuda.so was not built: pip install cupy-cuda13x")
    with pytest.raises(BackendUnavailable, match=r"'triton': .*pip install triton.*'cuda': .*pip install cupy-cuda13x"):
        engine("ac", "float32", kernels="auto")
    with pytest.raises(BackendUnavailable, match="no kernels 'opencl': choose auto, triton, cuda"):
        engine("ac", "float32", kernels="opencl")
