"""Building from the same clone again, as `pip install .` does with one more extra."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT
from helpers.patience import PATIENCE

#: Needs no compiler: what is tested is how CMake finds the tool that builds.
SMALL = """cmake_minimum_required(VERSION 3.22)
project(small NONE)
file(MAKE_DIRECTORY ${ACDC_OUTPUT})
add_custom_target(native ALL COMMAND ${CMAKE_COMMAND} -E touch ${ACDC_OUTPUT}/_native.so)
"""


def test_again_when_the_ninja_of_the_last_build_is_gone(tmp_path: Path) -> None:
    """pip gives each build an environment of its own, with its own ninja, and deletes it afterwards. The last build
    here has none, and takes make."""
    found = {name: shutil.which(name) for name in ("cmake", "make", "c++", "ninja")}
    if missing := [name for name, where in found.items() if where is None]:
        pytest.skip(f"{', '.join(missing)} not on PATH: nothing to build with")
    tree = tmp_path / "tree"
    (tree / "acdc_fast").mkdir(parents=True)
    (tree / "CMakeLists.txt").write_text(SMALL)
    (tree / "acdc_fast" / "__init__.py").write_text('__version__ = "0"\n')
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tree)
    for number, wanted in enumerate(["build.ninja", "build.ninja", "Makefile"]):
        own = tmp_path / f"environment{number}"
        own.mkdir()
        for name, where in found.items():
            if name != "ninja" or wanted == "build.ninja":
                (own / name).write_text(f'#!/bin/sh\nexec "{where}" "$@"\n')
                (own / name).chmod(0o755)
        result = subprocess.run(
            [sys.executable, "setup.py", "build_ext"], cwd=tree, capture_output=True, text=True, timeout=PATIENCE,
            env={**os.environ, "ACDC_CUDA": "0", "PATH": str(own)},
        )  # fmt: skip
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
        assert len(list(tree.glob(f"build/**/{wanted}"))) == 1
        next(tree.glob("build/lib*/acdc_fast/_native.so")).unlink()
        shutil.rmtree(own)
