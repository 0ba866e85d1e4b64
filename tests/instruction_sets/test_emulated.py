"""Every instruction set that the sources are written for, on any CPU: those that it lacks run in plain C++ (plain/).

With ACDC_EMULATE=missing the tests of the engine and of the ops run again with each missing one; with ACDC_EMULATE=all
(`make sanitize`) with all, and the emulation itself is compared with the instructions of those that this CPU has.
What it cannot show: how a compiler translates the instructions for a CPU that is not there, and its speed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import variants
from helpers.paths import ROOT

from acdc_fast.engines.native import native_library

EVERY = ["avx512", "avx2", "neon", "scalar", "avx512bf16"]
native = native_library()
HERE = [*native.available_isas(), *native.bf16_isas()]
#: ACDC_EMULATE=all: also those that this CPU has, and the emulation is compared with the instructions.
ALL = os.environ.get("ACDC_EMULATE") == "all"
MISSING = EVERY if ALL else [isa for isa in EVERY if isa not in HERE]
BUILT = "" if ALL else ";".join(["avx512" if isa == "avx512bf16" else isa for isa in MISSING] or ["none"])
pytestmark = pytest.mark.skipif(
    "ACDC_EMULATE" not in os.environ, reason="a build takes minutes: make sanitize, a job of its own in CI"
)
ENGINE = "agrees_with_float64 or variants or mask_of or inputs_of_other or constant_maps"
BFLOAT = "same_bits or rounding or products or bad_crops or error_of"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = variants.library("emulated", BUILT) / "library"
    return variants.package(tmp_path_factory.mktemp("emulated") / "package", built)


def test_all_are_there(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = "from acdc_fast import _native as n; found = set(n.available_isas() + n.bf16_isas()); assert found >= "
    wrong = variants.run(package, "emulated", ["-c", f"{told}{set(MISSING) | {'scalar'}}, found"])
    assert not wrong, wrong
    assert set(HERE) | set(MISSING) >= set(EVERY)
    with capsys.disabled():
        print(f"\nnative here: {', '.join(HERE)}; emulated: {', '.join(MISSING) or 'none'}")


@pytest.mark.parametrize("isa", MISSING)
def test_engine_and_ops(package: Path, isa: str) -> None:
    tests = ROOT / "tests"
    if "bf16" in isa:
        runs = [[str(tests / "engines" / "test_bf16.py"), "-k", BFLOAT]]
    else:
        runs = [[str(tests / "engines" / "test_native.py"), "-k", ENGINE],
                [str(tests / "ops" / "test_native_against_oracle.py"), "-k", f"{isa} and not threads"]]  # fmt: skip
    for arguments in runs:
        wrong = variants.run(package, "emulated", variants.pytest_arguments(*arguments), {"ACDC_ISA": isa})
        assert not wrong, wrong


#: What float32 may differ in over two stages: test_native.py's TIGHT. The engine's answers are the same bits with AVX2
#: and scalar code; with AVX-512 one unit in the last place apart, though each instruction alone is the same bits.
CLOSE = {"pose": 1e-4, "mask": 2e-5, "points": 2e-6}


@pytest.mark.skipif(not ALL, reason="builds all instruction sets: ACDC_EMULATE=all")
def test_the_emulation_computes_as_the_instructions_do(package: Path, tmp_path: Path) -> None:
    script, ours, theirs = str(Path(__file__).with_name("answers.py")), tmp_path / "ours.npz", tmp_path / "theirs.npz"
    subprocess.run([sys.executable, script, str(ours), *HERE], check=True)
    wrong = variants.run(package, "emulated", [script, str(theirs), *HERE])
    assert not wrong, wrong
    with np.load(ours) as a, np.load(theirs) as b:
        assert set(a) == set(b)
        for name in a:
            isa, *_, what = name.split()
            if isa in ("avx512", "neon") and what != "exponentials":
                assert np.abs(a[name] - b[name]).max() <= CLOSE.get(what, CLOSE["points"]), name
            else:
                np.testing.assert_array_equal(a[name], b[name], name)
