"""A few thousand inputs of each kind: the record (docs/notes/fuzzing.md) has the many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.patience import PATIENCE

INPUTS = {"images": 2500, "weights": 500, "settings": 500, "parquet": 400, "tar": 600, "film": 200, "bindings": 300}
NEEDS = {"parquet": "pyarrow", "film": "av", "settings": "yaml", "tar": "cv2"}


@pytest.mark.parametrize("target", INPUTS)
def test_no_findings(target: str, tmp_path: Path) -> None:
    """Ends early on a slow machine, but never before its first hundred inputs."""
    if target in NEEDS:
        pytest.importorskip(NEEDS[target])
    command = [sys.executable, str(Path(__file__).with_name("fuzz.py")), target, "--inputs", str(INPUTS[target])]
    done = subprocess.run(
        [*command, "--seconds", "60"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0 and '"inputs"' in done.stdout, done.stdout[-4000:] + done.stderr[-2000:]


def test_a_finding_is_told_and_repeatable(tmp_path: Path) -> None:
    """A target that crashes, hangs, raises what it should not and gives long messages, in turn."""
    script = Path(__file__).parent
    program = f"""
import sys, os, signal, time
sys.path.insert(0, {str(script)!r})
import fuzz, targets
fuzz.SECONDS, fuzz.CHUNK = 1, 8
def run(data, path):
    turn = sum(data) % 40
    if data == b"good": return
    if turn == 0: os.kill(os.getpid(), signal.SIGSEGV)
    while turn == 1: time.sleep(9 if fuzz.WAIT == 1 else 0)
    if turn == 2: raise KeyError("x")

targets.TARGETS["images"] = targets.Target(lambda: [b"good"], run, 64)
found = fuzz.Findings(None)
fuzz.fuzz("images", 150, 0, found)
again, asleep = fuzz.Findings(None), fuzz.Findings(None)
first = next(v["first"] for k, v in found.seen.items() if "SIGSEGV" in k)
fuzz.fuzz("images", first + 1, 0, again)
fuzz.WAIT = 1
fuzz.fuzz("images", 60, 0, asleep)
print(sorted(found.seen), sorted(asleep.seen), [k for k, v in again.seen.items() if v["first"] == first])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True)
    for kind in ("SIGSEGV", "no end within 1 s of the processor", "no end within 1 s'", "KeyError"):
        assert kind in done.stdout, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("['images: SIGSEGV']"), done.stdout


#: Six bytes must be of 32 values each: a chance of 1 in 260 000 for random bytes.
NESTED = (
    "def run(data, path):\n"
    + "".join(f"{'  ' * i}  if 192 <= data[{i}] < 224:\n" for i in range(6))
    + f"{'  ' * 7}raise KeyError('found')\n"
)
GUIDED = """
import sys
sys.path[:0] = sys.argv[1:3]
import arcs, fuzz, nested, targets
def run(data, path):
    if len(data) > 7: nested.run(data, path)
targets.TARGETS["images"] = targets.Target(lambda: [b"abcdefgh"], run, 16)
for others in (("nested",), ()):
    arcs.OTHERS, found = others, fuzz.Findings(None)
    arcs.watched.cache_clear()
    print(fuzz.fuzz("images", 20000, 0, found), list(found.seen))
"""


def test_steps_through_the_code_guide_the_search(tmp_path: Path) -> None:
    """Comparisons one after the other are passed one after the other; without steps as a guide they are not."""
    (tmp_path / "nested.py").write_text(NESTED)
    command = [sys.executable, "-c", GUIDED, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    guided, blind = done.stdout.splitlines()
    assert "KeyError" in guided and "'steps': 7" in guided and blind.endswith("[]"), done.stdout
