"""Every instruction set that the sources are written for, on any CPU: natively where it has them, else in plain C++.

The tests of the engine and of the ops run with each. Those that the CPU lacks are compiled with headers that write each
instruction in plain C++ (plain/). With ACDC_EMULATE=all (`make sanitize`) all of them are, and the emulation itself is
compared with the instructions of those that this CPU has; ACDC_EMULATE=none leaves the build out, which takes a minute
or two. What plain C++ cannot show: how a compiler translates the instructions for a CPU that is not there, and its
speed. The last lines of a run tell which were tested how (tests/conftest.py).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers import variants
from helpers.paths import ROOT
from helpers.present import NEEDS

from acdc_fast.engines.native import native_library
from acdc_fast.errors import BackendUnavailable

#: Those of bfloat16, and how many tests each must pass. The first has an emulation in AVX-512, which runs beside it; of
#: AMX the emulation alone can be written in plain C++.
BFLOATS = {"avx512bf16": 10, "avx512amx-emulated": 5}
EVERY = ["avx512", "avx2", "neon", "scalar", *BFLOATS]
Property = Callable[[str, object], None]
native = native_library()
HERE = [*native.available_isas(), *native.bf16_isas()]
MODE = os.environ.get("ACDC_EMULATE", "missing")
ALL = MODE == "all"
EMULATED = EVERY if ALL else [isa for isa in EVERY if isa not in HERE]
BUILT = "" if ALL else ";".join(["avx512" if isa in BFLOATS else isa for isa in EMULATED] or ["none"])
ENGINE = "agrees_with_float64 or variants or mask_of or patches or inputs_of_other or constant_maps"
BFLOAT = "same_bits or rounding or products or bad_crops or error_of"
#: Number of tests of the engine and of the ops that each must pass: fewer would mean that some are left out silently.
LEAST = {"engine": 29, "ops": 90}


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if MODE == "none":
        pytest.skip("ACDC_EMULATE=none: instruction sets that this CPU lacks are not tested")
    built = variants.library("emulated", BUILT) / "library"
    return variants.package(tmp_path_factory.mktemp("emulated") / "package", built)


def count_passed(package: Path, isa: str, arguments: list[str]) -> int:
    """The number of these tests of the package, with this instruction set. All must pass, none may be left out."""
    told = package / "told.xml"
    arguments = variants.pytest_arguments(*arguments, f"--junitxml={told}")
    wrong = variants.run(package, "emulated", arguments, {"ACDC_ISA": isa})
    assert not wrong, wrong
    (suite,) = ElementTree.parse(told).getroot()
    assert suite.get("skipped") == "0", told.read_text()
    return int(suite.get("tests", 0))


def test_none_is_forgotten() -> None:
    """The instruction sets are those of the sources, the build and the dispatcher; each is here or emulated."""
    sources = {path.stem.removeprefix("vec_") for path in (ROOT / "csrc" / "cpu" / "simd").glob("vec_*.h")}
    assert sources | set(BFLOATS) == set(EVERY)
    with pytest.raises(BackendUnavailable) as told:
        native.isa("none of them")
    assert set(str(told.value).split("choose one of ")[1].rstrip(".").split(", ")) == sources == set(NEEDS)
    build = (ROOT / "CMakeLists.txt").read_text()
    built = {kind: set(re.findall(rf"acdc_add_{kind}\((\w+)[ )]", build)) - {"name"} for kind in ("isa", "bf16")}
    assert built == {
        "isa": sources,
        "bf16": {f"avx512{kind}{how}" for kind in ("bf16", "amx") for how in ("", "_emulated")},
    }
    assert set(HERE) | set(EMULATED) >= set(EVERY)
    assert MODE in ("all", "missing", "none"), f"ACDC_EMULATE={MODE}: all, missing or none"


def runs_with(isa: str) -> dict[str, list[str]]:
    """Arguments of pytest for the tests that run with this instruction set in a process of its own.

    The suite itself runs the ops with each that this CPU has, and the engine with the best of them and in bfloat16.
    """
    rooms, own = ROOT / "tests", isa in EMULATED
    if isa in BFLOATS:
        files = [str(rooms / "engines" / name) for name in ("test_bf16.py", "test_bf16_instructions.py")]
        return {"bfloat16": [*files, "-k", f"({BFLOAT}) and {isa}"]} if own else {}
    if isa == HERE[0] and not own:
        return {}
    found = {"engine": [str(rooms / "engines" / "test_native.py"), "-k", ENGINE]}
    if own:
        found["ops"] = [str(rooms / "ops" / "test_native_against_oracle.py"), "-k", f"{isa} and not threads"]
    return found


@pytest.mark.parametrize("isa", EVERY)
def test_engine_and_ops(isa: str, request: pytest.FixtureRequest, record_property: Property) -> None:
    how = "in plain C++" if isa in EMULATED else "natively"
    record_property("told", f"instruction set {isa}: NOT TESTED")
    if isa in EMULATED:
        package = request.getfixturevalue("emulated")
        asked = f"from acdc_fast import _native as n; assert {isa!r} in n.available_isas() + n.bf16_isas()"
        assert not (wrong := variants.run(package, "emulated", ["-c", asked])), wrong
    else:
        package = variants.package(request.getfixturevalue("tmp_path") / "package", ROOT / "acdc_fast")
    found = {name: count_passed(package, isa, arguments) for name, arguments in runs_with(isa).items()}
    least = LEAST | {"bfloat16": BFLOATS.get(isa)}
    assert all(count >= least[name] for name, count in found.items()), found
    counts = ", ".join(f"{count} tests of {name}" for name, count in found.items())
    record_property("told", f"instruction set {isa}: {how}, {counts or 'by the suite itself'}")


#: What NEON's answers may differ in over two stages: test_native.py's TIGHT; the others are the same bits. (The bits of
#: NEON were never compared: that needs an Arm CPU.)
CLOSE = {"pose": 1e-4, "mask": 2e-5, "points": 2e-6}


@pytest.mark.skipif(not ALL, reason="builds all instruction sets: ACDC_EMULATE=all (make sanitize)")
def test_the_emulation_computes_as_the_instructions_do(emulated: Path, tmp_path: Path) -> None:
    script, ours, theirs = str(Path(__file__).with_name("answers.py")), tmp_path / "ours.npz", tmp_path / "theirs.npz"
    subprocess.run([sys.executable, script, str(ours), *HERE], check=True)
    wrong = variants.run(emulated, "emulated", [script, str(theirs), *HERE])
    assert not wrong, wrong
    with np.load(ours) as a, np.load(theirs) as b:
        assert set(a) == set(b)
        for name in a:
            isa, *_, what = name.split()
            if isa == "neon" and what != "exponentials":
                assert np.abs(a[name] - b[name]).max() <= CLOSE.get(what, CLOSE["points"]), name
            else:
                np.testing.assert_array_equal(a[name], b[name], name)
