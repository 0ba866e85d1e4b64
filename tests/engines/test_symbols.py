"""Each instruction set's code stays in its own namespace.

A weak symbol (an inline function or a template of std::, say) that a kernel file compiled for AVX-512 brings along may
be the copy the linker keeps for everybody: an illegal instruction on an older CPU. So objects are listed with nm.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from acdc_fast.engines.native import native_library

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "csrc" / "cpu"
INCLUDES = [f"-I{folder}" for folder in SOURCE.glob("*/")]
FLAGS = {
    "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw"],
    "avx2": ["-mavx2", "-mfma"],
    "neon": [],
    "scalar": [],
}


def kernel_sources() -> list[str]:
    text = (ROOT / "CMakeLists.txt").read_text().split("set(ACDC_KERNEL_SOURCES", 1)[1].split(")", 1)[0]
    return text.split()


# The exception tables of all objects share this pointer. It holds no instructions: any copy will do.
HARMLESS = {"DW.ref.__gxx_personality_v0"}


def foreign_symbols(listing: str, isa: str) -> list[str]:
    """Defined symbols outside acdc::<isa> that other objects could use; nm's lines are [address] type name."""
    out = []
    for line in listing.splitlines():
        *_, kind, name = line.split()
        if kind in "TDBRWVu" and f"4acdc{len(isa)}{isa}" not in name and name not in HARMLESS:
            out.append(name)
    return out


@pytest.mark.skipif(not SOURCE.exists(), reason="needs the C++ sources")
@pytest.mark.parametrize("isa", [isa for isa in native_library().available_isas() if isa != "scalar"])
def test_no_symbols_outside_the_namespace(isa: str, tmp_path: Path) -> None:
    compiler, nm = os.environ.get("CXX") or shutil.which("c++"), shutil.which("nm")
    if not compiler or not nm:
        pytest.skip("needs a C++ compiler and nm")
    jobs = []
    for source in kernel_sources():
        # -O1: inlines less than the build does, so it shows more.
        command = [*compiler.split(), "-std=c++17", "-O1", "-fPIC", *FLAGS[isa]]
        command += [f"-DACDC_ISA_{isa.upper()}", *INCLUDES]
        output = tmp_path / f"{Path(source).name}.o"
        jobs.append((output, subprocess.Popen([*command, "-c", str(ROOT / source), "-o", str(output)])))
    seen = 0
    for output, job in jobs:
        assert job.wait() == 0
        listing = subprocess.run([nm, "--defined-only", str(output)], capture_output=True, text=True, check=True).stdout
        assert foreign_symbols(listing, isa) == []
        seen += len(listing.splitlines())
    assert seen > 50


def test_the_check_finds_a_stray_template() -> None:
    listing = "0000 T _ZN4acdc6avx51210conv_inputEv\n0000 W _ZSt3maxIfERKT_S2_S2_\n0000 t local\n"
    assert foreign_symbols(listing, "avx512") == ["_ZSt3maxIfERKT_S2_S2_"]
