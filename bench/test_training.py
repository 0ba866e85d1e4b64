"""A training step with the native ops and one in plain torch, interleaved: time for a face, and peak memory.

On a CPU with bfloat16 instructions also the native step under autocast, as `bf16: true` trains.
"""

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

from acdc_fast.engines.native import native_library

BATCH, SIDE, THREADS, ROUNDS = 8, 128, 2, 7
#: Allowed relative distance of loss and gradient norm from eager's. Both are sums over all points and pixels, so
#: rounding averages out: float32 differs by the order of sums, bfloat16 by 2⁻⁸ of each activation.
GATE = {"fused": (1e-4, 1e-2), "bfloat16": (1e-2, 5e-2)}


class Child:
    """One variant in a separate process, so that the peak of memory is its own."""

    def __init__(self, variant: str, width: int) -> None:
        arguments = map(str, (width, BATCH, SIDE, THREADS))
        script = Path(__file__).with_name("training_step.py")
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # the child that waits must not use the cores
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


@pytest.mark.parametrize("width", [16, 32])
def test_training_step(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    half = "avx512bf16" in native_library().bf16_isas()
    variants = {name: Child(name, width) for name in ("eager", "fused", *(["bfloat16"] if half else []))}
    first = {name: child.step() for name, child in variants.items()}  # warm-up and check: wrong sums get no time
    for name in variants.keys() & GATE.keys():
        for value, allowed in zip(("loss", "gradient"), GATE[name], strict=True):
            assert first[name][value] == pytest.approx(first["eager"][value], rel=allowed), (name, value)
    milliseconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, child in variants.items():
            milliseconds[name].append(child.step()["seconds"] / BATCH * 1e3)
    memory = {name: child.end() for name, child in variants.items()}
    with capsys.disabled():
        print(f"\ntraining step, width {width}, batch {BATCH} at {SIDE}², {THREADS} threads, {ROUNDS} rounds")
        for name, values in milliseconds.items():
            middle, low, high = statistics.median(values), min(values), max(values)
            print(f"  {name}: {middle:6.1f} ms a face ({low:.1f} to {high:.1f}), peak {memory[name]:.0f} MiB")
        for name in [n for n in variants if n != "eager"]:
            ratios = [f / e for f, e in zip(milliseconds[name], milliseconds["eager"], strict=True)]
            print(
                f"  {name} / eager: time {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}),"
                f" memory {memory[name] / memory['eager']:.3f}"
            )
        if not half:
            print("  bfloat16: not measured, this CPU has no AVX512-BF16")
