"""Puts bench/ on the path: its scripts import each other by their plain names."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from helpers import emulator_build
from helpers.paths import ROOT

sys.path.insert(0, str(ROOT / "bench"))

if TYPE_CHECKING:
    from acdc_fast.ops.cuda.launch import Compiled


@pytest.fixture
def emulator() -> "Iterator[Compiled]":
    """Every launch of backend `cuda` goes to the emulator, on CPU tensors."""
    import ctypes

    from acdc_fast.ops.cuda import launch

    compiled = launch.Compiled(emulator_build.emulator(), "cpu")
    compiled.library.emulator_reset.argtypes = [ctypes.c_ulonglong]
    compiled.library.emulator_reset(1)
    launch.use(compiled)
    yield compiled
    launch.use(None)
