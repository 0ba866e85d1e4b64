"""Weights files of the detector: they are read as written, and broken ones raise errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.detectors import lively_detector
from safetensors.numpy import save_file

from acdc_fast import InputError
from acdc_fast.detector.weights import folded, load_detector, save_detector, shapes


def test_written_and_read(tmp_path: Path) -> None:
    arrays = folded(lively_detector(4))
    path = tmp_path / "detector.safetensors"
    save_detector(path, arrays, {"name": "trial"})
    read, card = load_detector(path)
    assert list(read) == list(shapes()) and card["name"] == "trial"
    for name, array in arrays.items():
        assert array.shape == shapes()[name]
        np.testing.assert_array_equal(read[name], array)


def test_every_weight_is_written() -> None:
    """As many numbers as the network, with one bias for each channel instead of the normalisation's."""
    network = lively_detector(0)
    kept = sum(p.numel() for p in network.parameters())
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert sum(array.size for array in folded(network).values()) == kept - sum(m.num_features for m in norms)


def test_broken_files(tmp_path: Path) -> None:
    arrays = folded(lively_detector(4))
    path = tmp_path / "broken.safetensors"
    for change in (
        {"stem.bias": arrays["stem.bias"][:3]}, {"stem.bias": arrays["stem.bias"].astype(np.float64)},
        {"stem.bias": np.full_like(arrays["stem.bias"], np.nan)}, {"more": np.zeros(1, np.float32)},
    ):  # fmt: skip
        save_file({**arrays, **change}, path)
        with pytest.raises(InputError, match=r"broken\.safetensors: .*(stem\.bias|more)"):
            load_detector(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"broken\.safetensors"):
        load_detector(path)
    with pytest.raises(InputError, match="absent"):
        load_detector(tmp_path / "absent.safetensors")
