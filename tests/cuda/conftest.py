"""The emulator of csrc/cuda/emulator, built once a session, in the place of a GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator

import pytest
import torch
from helpers.emulator_build import OWN, SOURCES, compile_objects

from acdc_fast.ops.cuda import launch as cuda_launch


@pytest.fixture(scope="session")
def emulator_library(tmp_path_factory: pytest.TempPathFactory) -> cuda_launch.Compiled:
    if shutil.which("g++") is None:
        pytest.skip("the emulator is built with g++, which is not installed")
    folder = tmp_path_factory.mktemp("emulator")
    flags = ["-O2", "-fPIC"]
    names = [*OWN, "emulator/launch.cpp", "bindings.cpp"]
    objects = compile_objects(folder, SOURCES, flags, flags, names)
    subprocess.run(["g++", "-shared", *objects, "-o", str(folder / "emulator.so")], check=True)
    compiled = cuda_launch.Compiled(folder / "emulator.so", "cpu")
    for name in ("emulator_loaded", "emulator_stored"):
        getattr(compiled.library, name).restype = ctypes.c_longlong
    compiled.library.emulator_reset.argtypes = [ctypes.c_ulonglong]
    return compiled


@pytest.fixture
def emulator(emulator_library: cuda_launch.Compiled) -> Iterator[cuda_launch.Compiled]:
    """Every launch of backend `cuda` goes to the emulator, on CPU tensors; blocks in an order of this seed."""
    cuda_launch.use(emulator_library)
    emulator_library.library.emulator_reset(torch.initial_seed() & 0xFFFF)
    yield emulator_library
    cuda_launch.use(None)
