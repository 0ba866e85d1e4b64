"""The native library built in other ways, each in a copy of the package of links, and tests run against it.

With a sanitizer: AddressSanitizer together with UndefinedBehaviorSanitizer, or ThreadSanitizer. Emulated: every
instruction set in plain C++ (tests/instruction_sets/plain), on any CPU.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.kept import digest, kept
from helpers.paths import ROOT
from helpers.patience import PATIENCE

SOURCES = [ROOT / "csrc" / "cpu", ROOT / "CMakeLists.txt"]
PLAIN = ROOT / "tests" / "instruction_sets" / "plain"
JOBS = 2  # at once

FLAGS = {
    "address": "-O1 -g1 -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS -fsanitize=address,undefined,float-cast-overflow"
    " -fno-sanitize-recover=all",
    "thread": "-O1 -g1 -fno-omit-frame-pointer -fsanitize=thread",
    "emulated": "-O1 -march=native",  # at -O2 the vectoriser of GCC 12 gets loops over such lanes wrong
}
#: The sanitizers' own libraries, which must be loaded before Python's: ours comes too late with its own.
PRELOADED = {"address": ["libasan.so", "libubsan.so", "libstdc++.so.6"], "thread": ["libtsan.so", "libstdc++.so.6"]}


def tool(name: str) -> str | None:
    """Path of a program that pip installed beside Python, or of the system's."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def why_not() -> str | None:
    """What the variants need and is missing here, or None."""
    if not sys.platform.startswith("linux"):
        return "the variants of the native library are built on Linux alone"
    for name in ("g++", "cmake", "ninja"):
        if tool(name) is None:
            return f"{name} is not installed (apt install g++; pip install cmake ninja)"
    return None


def skip_without_tools() -> None:
    if reason := why_not():
        pytest.skip(reason)


def widest() -> str:
    """The instruction set beside scalar that is built under a sanitizer: one that CI's machines have."""
    return "neon" if platform.machine() == "aarch64" else "avx2"


def configure(folder: Path, kind: str, isas: str) -> None:
    import pybind11

    command = [
        tool("cmake") or "cmake", "-S", str(ROOT), "-B", str(folder), "-GNinja",
        f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}", "-DCMAKE_CXX_COMPILER=g++", "-DCMAKE_BUILD_TYPE=None",
        f"-DCMAKE_CXX_FLAGS={FLAGS[kind]}", f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", f"-DACDC_OUTPUT={folder / 'library'}", f"-DACDC_ISAS={isas}",
        f"-DACDC_SKIPPED=a variant for tests ({kind})", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON",
    ]  # fmt: skip
    if kind == "emulated":
        command.append(f"-DACDC_EMULATED={PLAIN}")
    # From another folder, as a build by hand may be.
    subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)


def library(kind: str, isas: str = "") -> Path:
    """The folder of a build of this kind: objects, compile_commands.json, and `library/` with the library itself.

    ``isas``: instruction sets beside scalar, joined by ";"; empty, all that the processor may have.
    """
    skip_without_tools()
    compiler = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout
    sources = [*SOURCES, PLAIN] if kind == "emulated" else SOURCES

    def build(folder: Path) -> None:
        configure(folder, kind, isas)
        done = subprocess.run(
            [str(tool("ninja")), "-C", str(folder), f"-j{JOBS}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-4000:]

    return kept(f"native-{kind}", digest(sources, compiler, FLAGS[kind], isas, sys.version), build)


def package(folder: Path, built: Path) -> Path:
    """A package `acdc_fast` in ``folder``, of links to the checkout's files and to the library in ``built``."""
    room = folder / "acdc_fast"
    room.mkdir(parents=True)
    for path in (ROOT / "acdc_fast").iterdir():
        if path.suffix != ".so" and path.name != "__pycache__":
            (room / path.name).symlink_to(path)
    for name, target in (("kernels", "kernels"), ("training", "training"), ("csrc_cuda", "csrc/cuda")):
        (room / name).symlink_to(ROOT / target)
    (found,) = built.glob("_native*.so")
    (room / found.name).symlink_to(found)
    return folder


def environment(folder: Path, kind: str, more: dict[str, str] | None = None) -> dict[str, str]:
    """For processes that import the package in ``folder``; a sanitizer's reports go to ``folder``/report.*"""
    told = f"log_path={folder / 'report'}"
    found = dict(os.environ)
    more = dict(more or {})
    for name in ("ACDC_ISA", "ACDC_EXPECT", "PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS"):
        found.pop(name, None)
    thread = f"exitcode=66:{told}:{more.pop('TSAN_OPTIONS', '')}"
    found |= {
        "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
        "ASAN_OPTIONS": f"detect_leaks=0:detect_stack_use_after_return=0:{told}",
        "UBSAN_OPTIONS": f"print_stacktrace=1:{told}", "TSAN_OPTIONS": thread,
    }  # fmt: skip
    if kind in PRELOADED:
        ask = ["g++", *(f"-print-file-name={name}" for name in PRELOADED[kind])]
        paths = [
            subprocess.run([ask[0], a], capture_output=True, text=True, check=True).stdout.strip() for a in ask[1:]
        ]
        found["LD_PRELOAD"] = ":".join(paths)
    return found | more


def run(folder: Path, kind: str, arguments: list[str], more: dict[str, str] | None = None) -> str:
    """Runs ``python`` with these arguments against the package in ``folder``, and gives what is wrong, or "".

    Started in ``folder``, so that the checkout's own package is not found first.
    """
    fixed = ["setarch", "-R"] if kind == "thread" and shutil.which("setarch") else []  # it wants fixed addresses
    done = subprocess.run(
        [*fixed, sys.executable, *arguments], cwd=folder, env=environment(folder, kind, more), capture_output=True,
        text=True, timeout=6 * PATIENCE, check=False,
    )  # fmt: skip
    reports = "".join(p.read_text(errors="replace") for p in sorted(folder.glob("report.*")))
    if done.returncode == 0 and not reports:
        return ""
    return f"{reports[:6000]}\nexit status {done.returncode}\n{done.stderr[:6000]}\n{done.stdout[-3000:]}"


def pytest_arguments(*more: str) -> list[str]:
    return ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), *more]


def with_fault(built: Path, folder: Path, kind: str, file: str, text: str, instead: str) -> Path:
    """A library like ``built``'s with ``text`` in ``file`` replaced. Only that file's objects are built anew."""
    whole = (ROOT / file).read_text(encoding="utf-8")
    assert whole.count(text) == 1, f"{file} has {text!r} {whole.count(text)} times: plant the fault elsewhere"
    source, out = folder / Path(file).name, folder / "faulty"
    out.mkdir(parents=True)
    source.write_text(whole.replace(text, instead), encoding="utf-8")
    objects, rooms = {str(p.relative_to(built)): p for p in built.rglob("*.o")}, f"-I{(ROOT / file).parent}"
    for entry in json.loads((built / "compile_commands.json").read_text()):
        if Path(entry["file"]) == ROOT / file:
            command = shlex.split(entry["command"])
            name = command[command.index("-o") + 1]
            objects[name] = out / f"{len(objects)}-{Path(name).parts[1]}.o"
            command[command.index("-o") + 1] = str(objects[name])
            command[command.index("-c") + 1] = str(source)
            subprocess.run([*command, rooms], cwd=built, check=True, capture_output=True)
    (library,) = (built / "library").glob("_native*.so")
    flags = [f for f in shlex.split(FLAGS[kind]) if f.startswith("-fsanitize")]
    subprocess.run(
        ["g++", "-shared", *flags, *map(str, objects.values()), "-pthread", "-o", str(out / library.name)], check=True
    )
    return out
