"""The page's tables show what the steps found: right units, ratios, marks."""

from __future__ import annotations

from pathlib import Path

import gpu_tables
from gpu_budget import Results, Step


def cells(lines: list[str], start: str) -> list[str]:
    (line,) = [line for line in lines if line.startswith(f"| {start} |")]
    return line.strip("| ").split(" | ")


def test_kernels() -> None:
    row = {
        "kernel": "stem", "faces": 32, "times": {"cuda": 2e-5}, "share": {"cuda": 0.456}, "eager": 1e-3,
        "floor": 4e-6, "bound": "exp",
    }  # fmt: skip
    lines = gpu_tables.kernels([{"bandwidth": 2.5e12}, row, row | {"kernel": "mask", "floor": None, "bound": None}])
    assert "2.500 TB/s" in lines[0]
    assert cells(lines, "stem") == ["stem", "32", "–", "–", "20.0", "46%", "1000.0", "4.0 (exp)"]
    assert cells(lines, "mask")[-1] == "–"


def test_cascade_compares_the_faster_kernels_and_prefers_the_run_with_torch_compile() -> None:
    alone = {"eager": [9, 9, 9], "triton": [9, 9, 9]}
    times = {"eager": [0.03, 0.04, 0.05], "compiled": [0.02] * 3, "triton": [0.01] * 3, "cuda": [0.007, 0.008, 0.009]}
    rows = [{"width": 64, "faces": 32, "times": t} for t in (alone, times, alone)]
    lines = gpu_tables.cascade([*rows, {"width": 16, "faces": 1, "times": {"eager": [0.001, 0.002, 0.003]}}])
    assert cells(lines, "width 64, 32 faces")[1:] == [
        "40.00 (30.00 to 50.00)", "20.00 (20.00 to 20.00)", "10.00 (10.00 to 10.00)", "8.00 (7.00 to 9.00)",
        "5.0", "2.5", "4000",
    ]  # fmt: skip
    assert cells(lines, "width 16, 1 face") == [
        "width 16, 1 face", "2.00 (1.00 to 3.00)", "–", "–", "–", "–", "–", "–",
    ]  # fmt: skip


def test_update_correctness_and_block_sizes() -> None:
    update = gpu_tables.update([{"times": {"eager": [0.1] * 3, "our kernels": [0.04, 0.05, 0.06]}}])
    assert cells(update, "our kernels") == ["our kernels", "50.00 (40.00 to 60.00)", "2.00"]
    tests = gpu_tables.correctness([{"passed": 5, "failed": 1, "skipped": 2, "failures": ["tests/x.py::test_y"]}])
    assert tests[0] == "5 tests passed, 1 failed, 2 were skipped." and "- failed: `tests/x.py::test_y`" in tests

    def tried(pixels: int, seconds: float, used: bool) -> dict:
        block = {"pixels": pixels, "maps": 64, "warps": 8, "stages": 1}
        return {"kernel": "stem", "block": block, "seconds": seconds, "used": used}

    blocks = gpu_tables.candidates([tried(32, 4e-6, True), tried(64, 3e-6, False), tried(16, 8e-6, False)])
    assert [line.strip("| ") for line in blocks[2:5]] == [
        "stem | 64×64 | 8 | 1 | 3.0 | 0.75 | best", "stem | 32×64 | 8 | 1 | 4.0 | 1.00 | in use",
        "stem | 16×64 | 8 | 1 | 8.0 | 2.00",
    ]  # fmt: skip


def test_a_page_before_the_first_step(tmp_path: Path) -> None:
    """Whatever ends the script, a page is there; what is not measured is told."""
    steps = [Step(name, 1, []) for name in ("build", "compiled")]
    Results(tmp_path / "compiled.json").note("width 64: not begun, the time was short")
    page = gpu_tables.page(tmp_path, steps, {}, dry=False, taken=0)
    assert "dry run" not in page and "| compiled | not begun |" in page and "- width 64: not begun" in page
