"""The dry run goes through every step with tiny sizes on the CPU and writes its page; a wrong kernel gets no time."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import gpu_cases
import gpu_networks
import gpu_steps
import pytest
import torch
from gpu_budget import Results, read
from gpu_model import works
from gpu_page import SHARES
from gpu_scale import DRY, FULL, Scale
from helpers.paths import ROOT

from acdc_fast.ops.cuda.launch import Compiled

pytest.importorskip("triton", reason="Triton is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """About a minute of one idle CPU: an interpreter runs the kernels."""
    out = tmp_path_factory.mktemp("gpu")
    command = [sys.executable, str(ROOT / "bench" / "gpu_page.py"), "--dry-run", "--minutes", "60", "--out", str(out)]
    kept = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    job = subprocess.run(command, capture_output=True, text=True, env=kept, cwd=out, check=False)
    logs = "".join(log.read_text()[-600:] for log in out.glob("*.log"))
    assert job.returncode == 0, job.stdout + job.stderr + logs
    return (out / "gpu.md").read_text()


def section(page: str, heading: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    part = page.split(f"## {heading} (dry run)\n")[1].split("\n## ")[0]
    return [line[2:].split(" | ") for line in part.splitlines() if line.startswith("| ")][2:]


def test_every_step_ends_and_the_figures_are_marked(page: str) -> None:
    assert page.splitlines()[2].startswith("**Dry run.**")
    assert len(re.findall(r"^## .* \(dry run\)$", page, re.M)) == 6
    for step in SHARES:
        assert re.search(rf"^\| {step} \| ended after \d+ s \|$", page, re.M), step
    assert "- CUDA kernels: not built, a dry run has no GPU" in page
    assert "1 tests passed, 0 failed" in page


def test_every_table_has_its_rows(page: str) -> None:
    rows = section(page, "Each kernel")
    assert sorted(row[0] for row in rows) == sorted(works())
    assert all(float(row[2]) > 0 and float(row[6]) > 0 for row in rows)
    (row,) = section(page, "The whole cascade")
    assert row[0] == "width 8, 1 face" and "–" not in row[1] + row[2] + row[3]
    assert [row[0] for row in section(page, "An update of training")] == ["eager", "our kernels"]
    marks = [(row[0], row[-1]) for row in section(page, "Block sizes")]
    for kernel in {name for name, _ in marks}:
        assert sum("best" in mark for name, mark in marks if name == kernel) == 1
    assert {"geometry_transfer, statistics", "cascade_transition", "geometry_transfer, backward"} <= {
        n for n, _ in marks
    }


def test_what_is_measured_on_a_gpu() -> None:
    """The sizes that are asked for; those to have if time is short come first."""
    sizes = {(width, faces) for width in (16, 32, 64) for faces in (1, 8, 32, 128)}
    assert set(FULL.networks) == set(FULL.compiled) == sizes and len(FULL.networks) == len(FULL.compiled) == 12
    assert FULL.networks[0] == FULL.compiled[0] == (64, 32) and (64, 1) in FULL.compiled[:6]


def test_a_size_that_fails_and_one_without_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(width: int, faces: int, scale: Scale, results: Results, compiled: bool) -> None:
        if width == 16:
            raise RuntimeError("out of\nmemory")
        results.row(width=width, faces=faces, times={})

    class Clock(Results):
        """Seconds that are left before each of the three sizes."""

        lefts = iter((100.0, 100.0, -1.0))

        @property
        def left(self) -> float:
            return next(self.lefts)

    monkeypatch.setattr(gpu_networks, "measure", measure)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    scale = dataclasses.replace(DRY, networks=((16, 2), (8, 1), (64, 1)))
    gpu_networks.cascade(scale, Clock(tmp_path / "a.json"))
    rows, notes = read(tmp_path / "a.json")
    assert [row["width"] for row in rows] == [8]
    assert notes == [
        "width 16, 2 faces: RuntimeError: out of memory",
        "width 64, 1 face: not begun, the time was short",
    ]


def emulated(kind: str, emulator: Compiled) -> list[gpu_cases.Case]:
    return gpu_cases.cases(1, torch.float32, "cpu", kind, width=16, side=16, maps=21, split=16)


def test_cuda_cases_agree_with_the_reference(emulator: Compiled) -> None:
    for case in emulated("cuda", emulator):
        assert gpu_cases.error(case) <= gpu_cases.allowed(case, torch.float32), case.name


def test_a_wrong_kernel_gets_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up cases: a result that is off by a tenth, one that is right, and a second result that is no number."""
    right = torch.ones(4)
    cases = [
        gpu_cases.Case("dual_fusion", "dual_fusion", lambda: [0.9 * right], lambda: [right]),
        gpu_cases.Case("spatial_softmax", "spatial_softmax", lambda: [right], lambda: [right]),
        gpu_cases.Case("cascade_transition", "", lambda: [right, right * float("nan")], lambda: [right, right]),
    ]
    monkeypatch.setattr(gpu_steps, "of_kind", lambda *given: cases)
    monkeypatch.setattr(gpu_steps, "can_run", lambda scale: ["triton"])
    gpu_steps.kernels(DRY, Results(tmp_path / "a.json"))
    rows, notes = read(tmp_path / "a.json")
    assert [(row["kernel"], list(row["times"])) for row in rows[1:]] == [
        ("dual_fusion", []),
        ("spatial_softmax", ["triton"]),
        ("cascade_transition", []),
    ]
    assert notes == [
        "dual_fusion, 1 faces, triton: 2.0 times the error allowed: no time",
        "cascade_transition, 1 faces, triton: inf times the error allowed: no time",
    ]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed: the script does without CUDA kernels")
def test_cuda_kernels_are_built_for_one_gpu(tmp_path: Path, emulator: Compiled) -> None:
    gpu_steps.build_cuda(tmp_path / "_cuda.so", 90)
    assert sorted(Compiled(tmp_path / "_cuda.so").names()) == sorted(emulator.names())


def test_without_a_gpu_the_script_says_so(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    steps = str(ROOT / "bench" / "gpu_steps.py")
    paths = os.pathsep.join([str(ROOT / "bench")])
    command = [sys.executable, steps, "kernels", str(tmp_path / "x.json"), "9"]
    job = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}, check=False)
    assert job.returncode == 1 and job.stderr.startswith("torch sees no GPU here") and job.stderr.count("\n") == 1
