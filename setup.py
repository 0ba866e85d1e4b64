"""Builds the native CPU library with CMake beside the Python package; needs neither torch nor nvcc."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()


def find_compiler() -> str:
    """Path of the C++ compiler that CMake will use; ends the build with one clear sentence where there is none."""
    wanted = os.environ.get("CXX", "").split(" ")[0]
    for name in [wanted] if wanted else ["c++", "g++", "clang++"]:
        if path := shutil.which(name):
            return path
    raise SystemExit(
        f"acdc_fast needs a C++17 compiler to build, and {f'CXX={wanted}' if wanted else 'none (c++, g++, clang++)'} "
        "was found. Install one (Debian, Ubuntu: apt install g++; macOS: xcode-select --install) or take a wheel."
    )


def skipped_parts() -> str:
    """One line on what this build leaves out and why; empty when nothing is."""
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path=os.path.join(os.environ.get("CUDA_HOME", ""), "bin"))
    return "" if nvcc else "CUDA kernels not built ahead: nvcc not found (a GPU build needs the CUDA toolkit on PATH)"


class CMakeBuild(build_ext):
    """One extension, `acdc_fast._native`, configured and built by CMake in build_temp."""

    def build_extension(self, ext: Extension) -> None:
        import pybind11

        compiler, skipped = find_compiler(), skipped_parts()
        target = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        build = Path(self.build_temp).resolve()
        build.mkdir(parents=True, exist_ok=True)
        cmake = shutil.which("cmake") or "cmake"
        configure = [
            cmake, "-S", str(ROOT), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release",
            f"-DCMAKE_CXX_COMPILER={compiler}", f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", f"-DACDC_OUTPUT={target}", f"-DACDC_SKIPPED={skipped}",
        ]  # fmt: skip
        if shutil.which("ninja") and not (build / "Makefile").exists():
            configure.append("-GNinja")
        subprocess.run(configure, check=True)
        subprocess.run([cmake, "--build", str(build), "--parallel", str(os.cpu_count() or 1)], check=True)
        if skipped:
            print(f"acdc_fast: skipped: {skipped}", file=sys.stderr)


setup(
    packages=[
        "acdc_fast", "acdc_fast.ops", "acdc_fast.engines", "acdc_fast.kernels",
        "acdc_fast.training", "acdc_fast.training.data",
    ],
    package_dir={"acdc_fast": "acdc_fast", "acdc_fast.kernels": "kernels", "acdc_fast.training": "training"},
    package_data={"acdc_fast": ["weights/*.safetensors", "weights/*.md", "py.typed"]},
    ext_modules=[Extension("acdc_fast._native", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)  # fmt: skip
