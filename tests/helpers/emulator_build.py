"""Builds the emulator of csrc/cuda/emulator with plain g++."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.kept import digest, kept
from helpers.paths import ROOT

SOURCES = ROOT / "csrc" / "cuda"
#: The emulator itself. ThreadSanitizer must not watch it: it would report the emulated exchanges as races.
OWN = ["emulator/emulator.cpp", "emulator/ledger.cpp"]
FLAGS = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-clobbered", "-DACDC_EMULATOR"]
JOBS = 2  # at once


def compile_objects(folder: Path, sources: Path, flags: list[str], plain: list[str], names: list[str]) -> list[str]:
    """Objects of ``names``. OWN is compiled with ``plain`` flags instead of ``flags``."""

    def compiled(name: str) -> str:
        out = str(folder / (Path(name).stem + Path(name).parent.name + ".o"))
        command = ["g++", *FLAGS, *(plain if name in OWN else flags), "-c", str(sources / name), "-o", out]
        job = subprocess.run(command, capture_output=True, text=True, check=False)
        assert job.returncode == 0, job.stderr
        return out

    with ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(compiled, names))


def built(name: str, flags: list[str], plain: list[str], names: list[str], link: list[str], program: str) -> Path:
    """The folder with the objects of ``names`` and the ``program`` linked from them with the flags ``link``."""
    if shutil.which("g++") is None:
        pytest.skip("the emulator is built with g++, which is not installed")
    compiler = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout

    def build(folder: Path) -> None:
        objects = compile_objects(folder, SOURCES, flags, plain, names)
        subprocess.run(["g++", *link, *objects, "-o", str(folder / program)], check=True)

    return kept(name, digest([SOURCES], compiler, FLAGS, flags, plain, names, link), build)


def emulator() -> Path:
    """The emulator as a library."""
    flags = ["-O2", "-fPIC"]
    names = [*OWN, "emulator/launch.cpp", "bindings.cpp"]
    return built("emulator", flags, flags, names, ["-shared"], "emulator.so") / "emulator.so"
