"""Builds the native CPU library with CMake beside the Python package; needs neither torch nor nvcc."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()


def find_compiler() -> str:
    """Path of the C++ compiler that CMake will use; ends the build with one clear sentence where there is none."""
    wanted = os.environ.get("CXX", "").split(" ")[0]
    for name in [wanted] if wanted else ["c++", "g++", "clang++"]:
        if path := shutil.which(name):
            return path
    raise SystemExit(
        "acdc_fast needs a C++17 compiler to build, and "
        f"{f'CXX={wanted} was not' if wanted else 'none (c++, g++, clang++) was'} found. "
        "Install one (Debian, Ubuntu: apt install g++; macOS: xcode-select --install) or take a wheel."
    )


#: Compute capabilities that cover every GPU from 7.5 on (8.0 runs on 8.6 and 8.9, PTX of the last on what comes after),
#: for the machine that builds; a wheel for others (ACDC_CUDA=1) gets code for each.
CUDA_ARCHS, CUDA_WHEEL_ARCHS = "75;80;90", "75;80;86;89;90;100"
#: What is there where an NVIDIA GPU is: on Linux, in WSL.
GPUS = ("/dev/nvidiactl", "/dev/dxg")


def find_nvcc(install: bool) -> tuple[str | None, str]:
    """Path of nvcc where the CUDA kernels are to be built, else why not.

    ACDC_CUDA=1 asks for them, 0 does without. They take minutes, so auto, the default, builds them where there is a GPU
    and nvcc; a bare `build_ext --inplace` should stay quick and never does.
    """
    wanted = os.environ.get("ACDC_CUDA", "auto")
    if wanted not in ("auto", "0", "1"):
        raise SystemExit(f"ACDC_CUDA must be auto, 0 or 1, not {wanted!r}")
    if wanted == "0":
        return None, "CUDA kernels not built: ACDC_CUDA=0"
    if wanted == "auto" and not install:
        return None, "CUDA kernels not built: set ACDC_CUDA=1 to have them in a bare build_ext"
    if wanted == "auto" and not any(os.path.exists(node) for node in GPUS):
        return None, "CUDA kernels not built ahead: no GPU here (ACDC_CUDA=1 builds them all the same)"
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path=os.path.join(os.environ.get("CUDA_HOME", ""), "bin"))
    if nvcc is None and wanted == "1":
        raise SystemExit("ACDC_CUDA=1, but nvcc was not found: put the CUDA toolkit's bin on PATH or set CUDA_HOME")
    missing = "CUDA kernels not built ahead: nvcc not found (a GPU build needs the CUDA toolkit on PATH)"
    return nvcc, "" if nvcc else missing


def show(text: str, end: str = "") -> None:
    """To the terminal itself where there is one, because pip keeps what a build prints to itself. Without an ``end``
    the next text takes its place."""
    try:
        with open("/dev/tty", "w", encoding="utf-8") as terminal:
            terminal.write(f"\racdc_fast: {text:<78}{end}")
    except OSError:
        print(f"acdc_fast: {text}", file=sys.stderr, flush=True)


def build(command: list[str]) -> None:
    """Runs a build and shows its steps: ninja's "[3/40] Building …", make's "[ 12%] Building …"."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace")
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if line.startswith("["):
            show(f"{line.split('] ')[0]}] {line.split()[-1].split('/')[-1][:60]}")
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, command)
    show("built", end="\n")


def generator(place: Path) -> list[str]:
    """What tells CMake to build with ninja, where there is one.

    pip gives each build a ninja of its own and deletes it afterwards, but CMake keeps in its cache where the last one
    lay. So the place is told anew each time; a cache of another tool is thrown away.
    """
    ninja = shutil.which("ninja")
    kept = place / ("Makefile" if ninja else "build.ninja")
    if kept.exists():
        shutil.rmtree(place)
    place.mkdir(parents=True, exist_ok=True)
    return ["-GNinja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []


class CMakeBuild(build_ext):
    """One extension, `acdc_fast._native`, configured and built by CMake in build_temp."""

    def build_extension(self, ext: Extension) -> None:
        import pybind11

        compiler, (nvcc, skipped) = find_compiler(), find_nvcc(self.editable_mode or not self.inplace)
        target = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        place = Path(self.build_temp).resolve()
        cmake = shutil.which("cmake") or "cmake"
        configure = [
            cmake, "-S", str(ROOT), "-B", str(place), "-DCMAKE_BUILD_TYPE=Release",
            f"-DCMAKE_CXX_COMPILER={compiler}", f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", f"-DACDC_OUTPUT={target}", f"-DACDC_SKIPPED={skipped}",
            *generator(place),
        ]  # fmt: skip
        configure += shlex.split(os.environ.get("CMAKE_ARGS", ""))
        configure.append(f"-DACDC_CUDA={'ON' if nvcc else 'OFF'}")
        for_others = not self.inplace and os.environ.get("ACDC_CUDA") == "1"
        if nvcc:
            archs = os.environ.get("ACDC_CUDA_ARCHS") or (CUDA_WHEEL_ARCHS if for_others else CUDA_ARCHS)
            configure += [f"-DCMAKE_CUDA_COMPILER={nvcc}", f"-DCMAKE_CUDA_HOST_COMPILER={compiler}"]
            configure.append(f"-DACDC_CUDA_ARCHS={archs}")
        else:
            (target / "_cuda.so").unlink(missing_ok=True)  # an earlier build's: it must not get into a CPU wheel
        subprocess.run(configure, check=True)
        if nvcc:
            show(f"CUDA kernels for {archs.replace(';', ', ')} take minutes; ACDC_CUDA=0 leaves them out", end="\n")
        build([cmake, "--build", str(place), "--parallel", str(os.cpu_count() or 1)])
        if skipped:
            print(f"acdc_fast: skipped: {skipped}", file=sys.stderr)


def rooms(top: str) -> list[str]:
    """The package in this folder and all below it, by dotted name."""
    return [top, *(f"{top}.{name}" for name in find_packages(top))]


setup(
    packages=[
        *rooms("acdc_fast"), "acdc_fast.kernels", *(f"acdc_fast.{room}" for room in rooms("training")),
        "acdc_fast.csrc_cuda",
    ],
    package_dir={
        "acdc_fast": "acdc_fast", "acdc_fast.kernels": "kernels", "acdc_fast.training": "training",
        "acdc_fast.csrc_cuda": "csrc/cuda",  # what NVRTC compiles where nvcc did not
    },
    package_data={
        "acdc_fast": [
            "pretrained/*.safetensors", "pretrained/*.md", "pretrained/detector/*", "readout/head_shape.*",
            "readout/blendshapes.*", "py.typed",
        ],
        "acdc_fast.csrc_cuda": ["*.cuh", "table.h"],
    },
    ext_modules=[Extension("acdc_fast._native", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)  # fmt: skip
