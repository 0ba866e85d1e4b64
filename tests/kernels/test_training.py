"""Training through `backend="triton"`, asked for by name: torch.compile, autocast, DDP."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import one_stage

pytest.importorskip("triton", reason="Triton is not installed")
if torch.cuda.is_available():
    pytest.skip("these run on CPU tensors in Triton's interpreter, which is off where there is a GPU",
                allow_module_level=True)  # fmt: skip


def test_compiles_in_one_graph() -> None:
    one_stage.check_compiles("triton")


def test_autocast() -> None:
    one_stage.check_autocast("triton")


def test_ddp(tmp_path: Path) -> None:
    one_stage.check_ddp("triton", tmp_path)
