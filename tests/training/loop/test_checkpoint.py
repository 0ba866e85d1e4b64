"""Checkpoints on a full disk: one line; the old checkpoint stays whole; no part of a new one is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from helpers.patience import PATIENCE

from acdc_fast.training.loop.checkpoint import load_checkpoint, save_checkpoint

TESTS = Path(__file__).parents[2]
FULL = """
import sys
from pathlib import Path
import torch
from helpers.faults import Faults
from acdc_fast.errors import AcdcError
from acdc_fast.training.loop.checkpoint import save_checkpoint
path = Path(sys.argv[1])
for at in range(1, int(sys.argv[2])):
    faults = Faults(path.parent, at, "full")
    faults.install()  # over the one before, which is spent: it counts on, and is full no more
    try:
        save_checkpoint(path, {"step": 2, "values": torch.zeros(50_000)})
    except AcdcError as error:
        print(error)
        faults.at = 0
    else:
        print("saved", at, faults.count)
        break
"""


def test_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1, "values": torch.ones(50_000)})
    before = path.read_bytes()

    def run(most: int) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", FULL, str(path), str(most)], capture_output=True, text=True, timeout=PATIENCE,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    told = run(4)
    assert len(told) == 3 and all("cannot be written" in line and "No space left" in line for line in told), told
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert load_checkpoint(path)["step"] == 1
    told = run(200)
    assert told[-1].startswith("saved") and len(told) > 3 and all("cannot be written" in line for line in told[:-1])
    assert load_checkpoint(path)["step"] == 2 and [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
