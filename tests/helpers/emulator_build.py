"""Builds the emulator of csrc/cuda/emulator with plain g++."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2] / "csrc" / "cuda"
#: The emulator itself: not instrumented for ThreadSanitizer, for its own exchanges are no races.
OWN = ["emulator/emulator.cpp", "emulator/ledger.cpp"]
FLAGS = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-clobbered", "-DACDC_EMULATOR"]


def compile_objects(folder: Path, sources: Path, flags: list[str], plain: list[str], names: list[str]) -> list[str]:
    """Objects of ``names``; ``plain`` flags take the place of ``flags`` for OWN."""
    jobs, objects = [], []
    for name in names:
        out = folder / (Path(name).stem + Path(name).parent.name + ".o")
        own = plain if name in OWN else flags
        jobs.append(subprocess.Popen(["g++", *FLAGS, *own, "-c", str(sources / name), "-o", str(out)],
                                     stderr=subprocess.PIPE, text=True))  # fmt: skip
        objects.append(str(out))
    for job in jobs:
        _, errors = job.communicate()
        assert job.returncode == 0, errors
    return objects
