"""The native CPU library under AddressSanitizer with UndefinedBehaviorSanitizer and under ThreadSanitizer; and faults
planted in it, each of which a sanitizer must name.

ACDC_SANITIZE=calls runs calls of every function (drive.py) with the portable kernels. Their two builds alone take four
minutes of one core, so `make test` leaves it to `make sanitize` (ACDC_SANITIZE=all), a job of its own in CI, which adds
an instruction set and the tests of the engine and of the ops. AVX-512 is left out: GCC's sanitizers do not see the
masked loads and stores that it uses.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers import variants
from helpers.paths import ROOT

ALL = os.environ.get("ACDC_SANITIZE") == "all"
ISAS = variants.widest() if ALL else "none"
SUPPRESSIONS = Path(__file__).with_name("not_ours.txt")
CALLS = 4000 if ALL else 600
pytestmark = pytest.mark.skipif(
    "ACDC_SANITIZE" not in os.environ, reason="builds take minutes: make sanitize, a job of its own in CI"
)
#: Not under a sanitizer: they measure time or memory, or run Python anew.
UNFIT = "not steady and not memory and not forced and not arenas and not full_resolution and not exponential"
FILES = {
    "address": ["engines/test_native.py", "engines/test_bounds.py", "engines/test_native_robust.py",
                "ops/test_native_against_oracle.py", "training/synthesis/test_rasterize.py"],
    "thread": ["engines/test_native_robust.py", "ops/test_native_against_oracle.py"],
}  # fmt: skip


def driven(folder: Path, kind: str, calls: int) -> str:
    """What a sanitizer says of so many calls, or ""."""
    return variants.run(folder, kind, [str(Path(__file__).with_name("drive.py")), str(calls)])


@pytest.mark.parametrize("kind", ["address", "thread"])
def test_calls_of_every_function(kind: str, tmp_path: Path) -> None:
    folder = variants.package(tmp_path / "package", variants.library(kind, ISAS) / "library")
    wrong = driven(folder, kind, CALLS)
    assert not wrong, wrong


@pytest.mark.skipif(not ALL, reason="takes ten minutes: make sanitize (ACDC_SANITIZE=all) runs it")
@pytest.mark.parametrize("kind", ["address", "thread"])
def test_tests_of_engine_and_ops(kind: str, tmp_path: Path) -> None:
    folder = variants.package(tmp_path / "package", variants.library(kind, ISAS) / "library")
    more = {"TSAN_OPTIONS": f"suppressions={SUPPRESSIONS}"} if kind == "thread" else {}
    files = [str(ROOT / "tests" / name) for name in FILES[kind]]
    # ThreadSanitizer follows no threads of a forked child.
    unfit = f"{UNFIT} and not forked" if kind == "thread" else UNFIT
    wrong = variants.run(folder, kind, variants.pytest_arguments(*files, "-k", unfit), more)
    assert not wrong, wrong


#: name: sanitizer, file, text there, what takes its place, what the report must say
FAULTS = {
    "heap_overrun_of_a_result": (
        "address", "csrc/cpu/ops/attention_mask.cpp",
        "p < count; ++p) {\n      mask[", "p <= count; ++p) {\n      mask[",
        ["heap-buffer-overflow", "attention_mask.cpp"],
    ),
    "heap_overrun_of_scratch": (
        "address", "csrc/cpu/render/rasterize.cpp", "hits(static_cast<std::size_t>(pixels));",
        "hits(static_cast<std::size_t>(pixels) - 1);", ["heap-buffer-overflow", "rasterize.cpp"],
    ),
    "overrun_inside_an_arena": (
        "address", "csrc/cpu/engine/arena.cpp", "image_pitch() * image_pitch(), fence()",
        "image_pitch() * (image_pitch() - patch), fence()", ["use-after-poison", "engine"],
    ),
    "undefined_shift": (
        "address", "csrc/cpu/engine/engine_unet.cpp", "tiles_along(out.width), tiles =",
        "tiles_along(out.width) + 0 * (1 << (31 + threads)), tiles =", ["shift exponent", "engine_unet.cpp"],
    ),
    "results_are_not_waited_for": (
        "thread", "csrc/cpu/dispatch/thread_pool.cpp", "helpers.fetch_sub(1, std::memory_order_release)",
        "helpers.fetch_sub(1, std::memory_order_relaxed)", ["data race"],
    ),
    "slots_are_taken_without_the_lock": (
        "thread", "csrc/cpu/dispatch/thread_pool.cpp",
        "        const int slot = job->slots++;\n        job->helpers.fetch_add(1, std::memory_order_relaxed);\n"
        "        lock.unlock();",
        "        job->helpers.fetch_add(1, std::memory_order_relaxed);\n        lock.unlock();\n"
        "        const int slot = job->slots++;",
        ["data race", "thread_pool.cpp"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_named(name: str, tmp_path: Path) -> None:
    kind, file, text, instead, words = FAULTS[name]
    faulty = variants.with_fault(variants.library(kind, ISAS), tmp_path, kind, file, text, instead)
    told = driven(variants.package(tmp_path / "package", faulty), kind, 600)
    assert told, "not caught"
    missing = [word for word in words if word not in told]
    assert not missing, f"the report does not say {missing}: {told[:3000]}"
