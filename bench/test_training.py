"""A training step through the native ops beside plain torch, interleaved in one run: time a face and peak memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the training benchmark needs torch: pip install 'acdc-fast[bench]'")

WIDTH, BATCH, SIDE, THREADS, ROUNDS = 16, 8, 128, 2, 7


class Child:
    """One variant in a process of its own, so that its peak of memory is its own."""

    def __init__(self, variant: str) -> None:
        arguments = map(str, (WIDTH, BATCH, SIDE, THREADS))
        script = Path(__file__).with_name("training_step.py")
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # the one that waits must not spin
        self.process = subprocess.Popen(
            [sys.executable, str(script), variant, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"training_step.py ended with status {self.process.wait()}"
        out: dict[str, Any] = json.loads(line)
        return out

    def step(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.read()

    def end(self) -> float:
        assert self.process.stdin is not None
        self.process.stdin.close()
        megabytes = self.read()["bytes"] / 2**20
        self.process.wait()
        return float(megabytes)


def test_training_step(capsys: pytest.CaptureFixture[str]) -> None:
    variants = {name: Child(name) for name in ("eager", "fused")}
    first = {name: child.step() for name, child in variants.items()}  # warm-up, and the gate: no speed of wrong sums
    assert first["fused"]["loss"] == pytest.approx(first["eager"]["loss"], rel=1e-4)
    assert first["fused"]["gradient"] == pytest.approx(first["eager"]["gradient"], rel=1e-2)
    milliseconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, child in variants.items():
            milliseconds[name].append(child.step()["seconds"] / BATCH * 1e3)
    memory = {name: child.end() for name, child in variants.items()}
    ratios = [f / e for f, e in zip(milliseconds["fused"], milliseconds["eager"], strict=True)]
    with capsys.disabled():
        print(f"\ntraining step, width {WIDTH}, batch {BATCH} at {SIDE}², {THREADS} threads, {ROUNDS} rounds")
        for name, values in milliseconds.items():
            middle, low, high = statistics.median(values), min(values), max(values)
            print(f"  {name}: {middle:6.1f} ms a face ({low:.1f} to {high:.1f}), peak {memory[name]:.0f} MiB")
        print(
            f"  fused / eager: time {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}),"
            f" memory {memory['fused'] / memory['eager']:.3f}"
        )
