"""The emulator of csrc/cuda/emulator, instead of a GPU."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest
import torch
from helpers import emulator_build

from acdc_fast.ops.cuda import launch as cuda_launch


@pytest.fixture(scope="session")
def emulator_library() -> cuda_launch.Compiled:
    compiled = cuda_launch.Compiled(emulator_build.emulator(), "cpu")
    for name in ("emulator_loaded", "emulator_stored"):
        getattr(compiled.library, name).restype = ctypes.c_longlong
    compiled.library.emulator_reset.argtypes = [ctypes.c_ulonglong]
    return compiled


@pytest.fixture
def emulator(emulator_library: cuda_launch.Compiled) -> Iterator[cuda_launch.Compiled]:
    """Sends every launch of backend `cuda` to the emulator, on CPU tensors. The seed gives the order of blocks."""
    cuda_launch.use(emulator_library)
    emulator_library.library.emulator_reset(torch.initial_seed() & 0xFFFF)
    yield emulator_library
    cuda_launch.use(None)
