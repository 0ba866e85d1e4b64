"""The CPU engine and its peers: the same network and weights, interleaved in one run, after a check of their results.

    pytest bench/test_cpu.py --benchmark -s -k "64 and batch1"

writes runs/bench/cpu.md (tables) and runs/bench/cpu.png (plot). docs/notes/measurements.md keeps a copy.
"""

from __future__ import annotations

import copy
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the CPU benchmark needs torch: pip install 'acdc-fast[bench]'")

from contestants import CONTESTANTS, Subject, Unavailable, named  # noqa: E402
from roofline import fma_peak, operations, read_bandwidth  # noqa: E402
from timing import interleaved  # noqa: E402

from acdc_fast import ACDC, ACDCConfig  # noqa: E402
from acdc_fast.engines.native import NativeEngine, native_library  # noqa: E402
from acdc_fast.export import export_network  # noqa: E402

ALL = native_library().available_threads()
WIDTHS, BATCHES, THREADS = (16, 32, 64), (1, 8, 32), sorted({1, ALL})
#: Instruction sets whose steps are timed: the best one in float32, and AVX2 where that is not it.
LAYER_ISAS = list(dict.fromkeys([native_library().isa(), *(("avx2",) if platform.machine() == "x86_64" else ())]))
ROUNDS = {(16, 1): 40, (32, 1): 25, (64, 1): 15}  # others: 5


@pytest.fixture(scope="session")
def record(out: Path) -> dict[str, Any]:
    """The measurements so far, kept in cpu.json: a run of some cases adds to earlier ones."""
    path = out / "cpu.json"
    return json.loads(path.read_text()) if path.exists() else {"machine": machine(), "cases": {}, "layers": {}}


@pytest.fixture(scope="session")
def network_of(out: Path) -> Any:
    made: dict[int, tuple[ACDC, Path]] = {}

    def make(width: int) -> tuple[ACDC, Path]:
        if width not in made:
            torch.manual_seed(0)
            network, path = ACDC(ACDCConfig(width=width)).eval(), out / f"w{width}.onnx"
            export_network(network, path, batch="dynamic")
            made[width] = (network, path)
        return made[width]

    return make


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return {
        "cpu": cpu or platform.processor(),
        "isa": native_library().isa(),
        "threads": ALL,
        "peak": {str(t): fma_peak(t) for t in THREADS},
        "bandwidth": read_bandwidth(ALL),
    }


def save(out: Path, record: dict[str, Any]) -> None:
    from report import plot, tables

    (out / "cpu.json").write_text(json.dumps(record, indent=1))
    (out / "cpu.md").write_text(tables(record))
    plot(record, out / "cpu.png")


@pytest.mark.parametrize("threads", THREADS, ids=lambda t: f"threads{t}")
@pytest.mark.parametrize("batch", BATCHES, ids=lambda b: f"batch{b}")
@pytest.mark.parametrize("width", WIDTHS, ids=lambda w: f"width{w}")
def test_peers(
    width: int,
    batch: int,
    threads: int,
    out: Path,
    record: dict[str, Any],
    network_of: Any,
    request: pytest.FixtureRequest,
) -> None:
    network, path = network_of(width)
    subject = Subject(network, path, batch, threads)
    crops = np.random.default_rng(0).random((batch, 1, 128, 128), np.float32)
    checked = min(batch, 2)  # float64 takes long
    with torch.inference_mode():
        truth = named(copy.deepcopy(network).double()(torch.from_numpy(crops[:checked]).double()))
    rows: dict[str, dict[str, Any]] = {}
    calls = {}
    left_out = [part for part in request.config.getoption("--bench-without").split(",") if part]
    for name, (make, tolerance) in CONTESTANTS.items():
        if any(part in name for part in left_out):
            rows[name] = {"note": "not measured: left out of this run"}
            continue
        print(f"preparing {name} ...", flush=True)
        try:
            call = make(subject)
            got = call(crops)
        except (ImportError, Unavailable) as reason:
            rows[name] = {"note": f"not measured: {reason}"}
            continue
        error = max(float(np.abs(got[k][:checked] - truth[k]).max()) for k in truth if k.startswith("landmarks"))
        rows[name] = {"error": error}
        if error <= tolerance:
            calls[name] = lambda call=call: call(crops)
        else:
            rows[name]["note"] = f"no time: wrong by {error:.1e} crop units"
    assert "ours (float32)" in calls, rows
    rounds = request.config.getoption("--bench-rounds") or ROUNDS.get((width, batch), 5)
    warmup = 2 if batch == 1 else 0  # the check above has run the same batch once
    for name, times in interleaved(calls, rounds, warmup).items():
        low, high = times.quartiles
        rows[name].update(median=times.median, low=low, high=high, rounds=rounds)
    record["machine"]["peak"][str(threads)] = max(record["machine"]["peak"].get(str(threads), 0), fma_peak(threads))
    record["cases"][f"{width} {batch} {threads}"] = rows
    save(out, record)


@pytest.mark.parametrize("isa", LAYER_ISAS)
@pytest.mark.parametrize("width", WIDTHS, ids=lambda w: f"width{w}")
def test_layers(width: int, isa: str, out: Path, record: dict[str, Any], network_of: Any) -> None:
    """Time of each step of our engine with all threads, and the share of the peak that its products reach."""
    network, _ = network_of(width)
    arrays = {k: v.numpy() for k, v in network.state_dict().items()}
    engine = NativeEngine(network.config, arrays, threads=ALL, isa=isa)
    crop = np.random.default_rng(0).random((128, 128), np.float32)
    runs, peak = [], fma_peak(ALL, isa)
    for _ in range(30):
        steps: dict[str, float] = {}
        for name, seconds in engine.profile(crop):
            key = name.split(".")[-1]  # the same step of all stages is added up
            steps[key] = steps.get(key, 0.0) + seconds
        runs.append(steps)
    flop = operations(network.config)
    layers = {}
    for name, (direct, transformed) in flop.items():
        parts = {p: float(np.median([r[f"{name}/{p}"] for r in runs])) for p in ("input", "product", "output")
                 if f"{name}/{p}" in runs[0]}  # fmt: skip
        layers[name] = {
            "seconds": float(np.median([r[name] for r in runs])), "direct": direct, "transformed": transformed, **parts
        }  # fmt: skip
    assert set(layers) == {k for k in runs[0] if "/" not in k}
    record["layers"][f"{width} {isa}"] = {"peak": max(peak, fma_peak(ALL, isa)), "steps": layers}
    save(out, record)
