"""The emulator of csrc/cuda/emulator, built once a session, in the place of a GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from acdc_fast.ops import cuda_launch

SOURCES = Path(__file__).resolve().parents[2] / "csrc" / "cuda"
FLAGS = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-clobbered", "-DACDC_EMULATOR"]


def compile_objects(folder: Path, sources: Path, flags: list[str], plain: list[str], names: list[str]) -> list[str]:
    """Objects of ``names``; ``plain`` flags take the place of ``flags`` for emulator.cpp."""
    jobs, objects = [], []
    for name in names:
        out = folder / (Path(name).stem + Path(name).parent.name + ".o")
        own = plain if name.endswith("emulator.cpp") else flags
        jobs.append(subprocess.Popen(["g++", *FLAGS, *own, "-c", str(sources / name), "-o", str(out)],
                                     stderr=subprocess.PIPE, text=True))  # fmt: skip
        objects.append(str(out))
    for job in jobs:
        _, errors = job.communicate()
        assert job.returncode == 0, errors
    return objects


@pytest.fixture(scope="session")
def emulator_library(tmp_path_factory: pytest.TempPathFactory) -> cuda_launch.Compiled:
    if shutil.which("g++") is None:
        pytest.skip("the emulator is built with g++, which is not installed")
    folder = tmp_path_factory.mktemp("emulator")
    flags = ["-O2", "-fPIC"]
    names = ["emulator/emulator.cpp", "emulator/launch.cpp", "bindings.cpp"]
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
