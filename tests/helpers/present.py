"""What a machine must have so that no test is left out. `.ci/run` names it in ACDC_EXPECT."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path


def cpu_flags() -> set[str]:
    """Features of this CPU, by Linux's names. Empty if /proc does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split(":")[1].split()}


#: Instruction sets, best first, with the features that each needs.
NEEDS = {
    "avx512": {"avx2", "fma", "avx512f", "avx512vl", "avx512dq", "avx512bw"},
    "avx2": {"avx2", "fma"},
    "neon": {"asimd"},
    "scalar": set[str](),
}


def expected_isas() -> list[str]:
    """Instruction sets that the native library must offer here by /proc/cpuinfo, best first."""
    return [isa for isa, needs in NEEDS.items() if needs <= cpu_flags()]


def _module(name: str) -> Callable[[], str | None]:
    def why_not() -> str | None:
        try:
            importlib.import_module(name)
        except ImportError as error:
            return str(error)
        return None

    return why_not


def _program(name: str) -> Callable[[], str | None]:
    return lambda: None if shutil.which(name) else f"{name} is not on PATH"


def _nvrtc() -> str | None:
    try:
        from cupy_backends.cuda.libs import nvrtc

        nvrtc.getVersion()
    except Exception as error:
        return str(error)
    return None


def _variants() -> str | None:
    from helpers import variants

    return variants.why_not()


def _instruction_sets() -> str | None:
    if os.environ.get("ACDC_EMULATE") == "none":
        return "ACDC_EMULATE=none leaves out those that this CPU lacks"
    return _variants()


def _lock() -> str | None:
    """What is installed in other versions than the lock of this Python and platform has."""
    import re
    from importlib.metadata import PackageNotFoundError, version

    from helpers.paths import LOCKS, lock_tag

    path, wrong = LOCKS / f"{lock_tag()}.txt", []
    for name, wanted in re.findall(r"^([^#=]+)==(\S+)", path.read_text() if path.exists() else "", re.MULTILINE):
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "nothing"
        if found != wanted:
            wrong.append(f"{name} {wanted} is locked, {found} is installed")
    return "; ".join(wrong) or None


def _folder() -> str | None:
    folder = os.environ.get("ACDC_DATA_ROOT", "")
    return None if Path(folder or "/nowhere").is_dir() else f"ACDC_DATA_ROOT={folder} is no folder"


#: Name in ACDC_EXPECT: why it is missing, or None where it is there.
CHECKS: dict[str, Callable[[], str | None]] = {
    "native": _module("acdc_fast._native"),
    "triton": _module("triton"),
    "emulator": _program("g++"),
    "nvrtc": _nvrtc,
    "variants": _variants,
    "instruction-sets": _instruction_sets,
    "onnx": _module("onnxruntime"),
    "parquet": _module("pyarrow.parquet"),
    "video": _module("av"),
    "opencv": _module("cv2"),
    "pandas": _module("pandas"),
    "ray": _module("ray"),
    "node": _program("node"),
    "data": _folder,
    "lock": _lock,
}


def missing(names: str) -> dict[str, str]:
    """The names of a comma-separated list that are missing here, and why."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    found = {name: CHECKS[name]() if name in CHECKS else f"known are {', '.join(CHECKS)}" for name in wanted}
    return {name: why for name, why in found.items() if why is not None}
