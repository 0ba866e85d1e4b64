"""Steps that share a time: one that hangs, fails or comes too late costs the others nothing; one line tells it."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import gpu_page
import pytest
from gpu_budget import GRACE, Results, Step, read, run
from helpers.paths import ROOT

#: Writes a row, then does what it is here to do. It is given its file and its seconds.
FINDS = "import sys, time, os; from gpu_budget import Results; from pathlib import Path\n" + (
    "r = Results(Path(sys.argv[1]), float(sys.argv[2])); r.row(found=1)\n"
)


def step(name: str, then: str = "", share: float = 1) -> Step:
    return Step(name, share, [sys.executable, "-c", FINDS + then])


def finish(steps: list[Step], seconds: float, out: Path) -> tuple[dict[str, str], list[list[str]]]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "bench")])}
    told: list[list[str]] = []
    outcomes = run(steps, seconds, out, environment, lambda so_far: told.append(list(so_far)))
    return outcomes, told


def test_a_step_that_hangs_is_cut_with_all_that_it_started(tmp_path: Path) -> None:
    slow = step(
        "slow",
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "r.row(child=child.pid); time.sleep(600)",
    )
    begun = time.monotonic()
    outcomes, told = finish([slow, step("quick")], 30, tmp_path)
    assert time.monotonic() - begun < 30
    assert outcomes["slow"].startswith("cut after 15 s") and "\n" not in outcomes["slow"]  # half of the time
    assert outcomes["quick"].startswith("ended after")
    assert read(tmp_path / "quick.json") == ([{"found": 1}], [])
    first, second = read(tmp_path / "slow.json")[0]
    assert first == {"found": 1}
    stat = Path(f"/proc/{second['child']}/stat")
    assert not stat.exists() or stat.read_text().rpartition(") ")[2].startswith("Z")
    assert told == [["slow"], ["slow", "quick"]]


def test_a_step_that_fails_is_told_by_its_last_line(tmp_path: Path) -> None:
    steps = [step("bad", "r.note('one  \\n left out'); raise SystemExit('no\\nluck today')"), step("quick")]
    outcomes, _ = finish(steps, 120, tmp_path)
    assert outcomes["bad"].endswith("luck today (bad.log has the rest)") and outcomes["bad"].startswith("failed after")
    assert read(tmp_path / "bad.json") == ([{"found": 1}], ["one left out"])
    assert outcomes["quick"].startswith("ended")


def test_unused_time_goes_to_the_later_steps(tmp_path: Path) -> None:
    """Each step keeps the seconds it was given: a third of 90, and then nearly all that is left."""
    keeps = "(Path(sys.argv[1]).parent / (sys.argv[1] + '.given')).write_text(sys.argv[2])"
    finish([step("first", keeps, 1), step("last", keeps, 2)], 90, tmp_path)
    first, last = (float((tmp_path / f"{name}.json.given").read_text()) for name in ("first", "last"))
    assert first == pytest.approx(30 - GRACE, abs=0.5)
    assert 60 - GRACE < last < 90 - GRACE


def test_no_step_is_begun_without_time(tmp_path: Path) -> None:
    outcomes, _ = finish([step("none")], GRACE, tmp_path)
    assert outcomes == {"none": "not begun: the time was used up"} and read(tmp_path / "none.json") == ([], [])


def test_results_are_whole_after_each_change(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    results = Results(path)
    results.row(a=1)
    results.note("later: b")
    results.note("later: b")
    assert json.loads(path.read_text()) == {"rows": [{"a": 1}], "notes": ["later: b"]}
    results.forget("later: b")
    results.replace(a=2)
    assert json.loads(path.read_text()) == {"rows": [{"a": 2}], "notes": []}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_page_of_a_cut_and_of_a_failed_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page tells both, and holds the rows that they had found."""
    row = "r.replace(kernel='softmax', block=dict(pixels=32, maps=64, warps=4, stages=1), seconds=2e-6, used=True);"
    facts = "r.replace(facts={'GPU': 'none'}); raise ValueError('no driver')"
    steps = [step("build", facts), step("candidates", row + "time.sleep(600)")]
    assert gpu_page.measure(steps, 0.3, tmp_path, dry=True) == 2
    page = (tmp_path / "gpu.md").read_text()
    assert "| GPU | none |" in page and "| softmax | 32×64 | 4 | 1 | 2.0 | 1.00 | best, in use |" in page
    assert "ValueError: no driver (build.log has the rest) |" in page and "| candidates | cut after" in page
    assert page.count("Nothing was measured") == 4
    assert "candidates: cut after" in capsys.readouterr().out
