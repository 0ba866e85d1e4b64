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


class CMakeBuild(build_ext):
    """One extension, `acdc_fast._native`, configured and built by CMake in build_temp."""

    def build_extension(self, ext: Extension) -> None:
        import pybind11

        target = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        build = Path(self.build_temp).resolve()
        build.mkdir(parents=True, exist_ok=True)
        cmake = shutil.which("cmake") or "cmake"
        configure = [
            cmake, "-S", str(ROOT), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release",
            f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DACDC_OUTPUT={target}",
        ]  # fmt: skip
        if shutil.which("ninja"):
            configure.append("-GNinja")
        subprocess.run(configure, check=True)
        subprocess.run([cmake, "--build", str(build), "--parallel", str(os.cpu_count() or 1)], check=True)


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
