"""The emulator's tests of the CUDA ops and of the engine again, with the kernels that nvcc or NVRTC built on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import test_cuda_engine
import test_cuda_ops
import torch

from acdc_fast.ops.cuda import launch as cuda_launch

if not torch.cuda.is_available():
    pytest.skip("torch sees no GPU: the CUDA kernels were run by the emulator alone", allow_module_level=True)


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """No emulator: tensors are on the GPU, and every launch goes to it. It runs blocks in any order."""
    cuda_launch.use(None)
    reason = cuda_launch.find()
    assert not isinstance(reason, str), reason
    monkeypatch.setattr(test_cuda_engine, "DEVICE", "cuda")
    torch.set_default_device("cuda")
    yield SimpleNamespace(library=SimpleNamespace(emulator_reset=lambda seed: None))
    torch.set_default_device("cpu")


test_spatial_softmax_and_mask = test_cuda_ops.test_spatial_softmax_and_mask
test_extreme_logits = test_cuda_ops.test_extreme_logits
test_fusion = test_cuda_ops.test_fusion
test_geometry_transfer = test_cuda_ops.test_geometry_transfer
test_where_no_strip_fits = test_cuda_ops.test_where_no_strip_fits
test_more_maps_than_a_block_takes = test_cuda_ops.test_more_maps_than_a_block_takes
test_the_same_bits_each_time = test_cuda_ops.test_same_bits_in_any_order_of_blocks
test_through_the_public_ops = test_cuda_ops.test_through_the_public_ops


@pytest.mark.parametrize("case", test_cuda_engine.CASES)
def test_the_engine_agrees_with_the_eager_network(
    emulator: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    torch.set_default_device("cpu")  # what is given comes from there, as a photograph does
    test_cuda_engine.test_agrees_with_the_eager_network(emulator, monkeypatch, case, 227 << 10)  # type: ignore[arg-type]


def test_the_engine_in_half_precision(emulator: SimpleNamespace) -> None:
    torch.set_default_device("cpu")
    test_cuda_engine.test_half_precision_errs_no_more_than_twice_the_eager_network_does(emulator)  # type: ignore[arg-type]
