"""The page of gpu_page.py, of your GPU, as a part of `pytest bench/ --benchmark`. Without a GPU it says so."""

from __future__ import annotations

from pathlib import Path

import gpu_page
import pytest
import torch


def test_gpu(out: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU: the GPU part of the benchmarks did not run")
    steps = gpu_page.plan(dry=False, only=list(gpu_page.SHARES))
    assert gpu_page.measure(steps, 8, out / "gpu", dry=False) == 0
