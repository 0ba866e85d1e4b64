"""The native engine under threads, forks, forced instruction sets and long use."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.nets import arrays, crops, lively
from helpers.patience import PATIENCE

from acdc_fast.engines.native import NativeEngine, native_library
from acdc_fast.types import Prediction

native = native_library()


def same_bits(a: Prediction, b: Prediction) -> None:
    for name in a.landmarks:
        np.testing.assert_array_equal(a.landmarks[name], b.landmarks[name])
        np.testing.assert_array_equal(a.covariance[name], b.covariance[name])
    np.testing.assert_array_equal(a.pose, b.pose)
    np.testing.assert_array_equal(a.mask, b.mask)


@pytest.mark.parametrize(("width", "side"), [(16, 48), (64, 40)])
def test_same_bits_for_any_threads_and_batch(width: int, side: int) -> None:
    network, x = lively(width=width, stages=2), crops(5, side)
    alone = NativeEngine(network.config, arrays(network), threads=1)
    expected = alone(x)
    for threads in (2, 3, 7):
        same_bits(NativeEngine(network.config, arrays(network), threads=threads)(x), expected)
    for i in range(5):
        one = alone(x[i : i + 1])
        for name in one.landmarks:
            np.testing.assert_array_equal(one.landmarks[name][0], expected.landmarks[name][i])
        np.testing.assert_array_equal(one.mask[0], expected.mask[i])


def test_many_python_threads_on_one_engine() -> None:
    network = lively(width=16, stages=2)
    engine = NativeEngine(network.config, arrays(network), threads=2)
    inputs = [crops(1 + i % 3, 32 + 8 * (i % 2), seed=i) for i in range(24)]
    expected = [engine(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for got, wanted in zip(pool.map(engine, inputs * 3), expected * 3, strict=True):
            same_bits(got, wanted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_children_run_it() -> None:
    network, x = lively(width=16, stages=2), crops()
    engine = NativeEngine(network.config, arrays(network), threads=2)
    expected = engine(x).landmarks["2d98"]
    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(engine, crops(4, 64)) for _ in range(6)]  # other threads hold arenas and the pool meanwhile
        for _ in range(4):
            child = os.fork()
            if child == 0:
                os._exit(0 if np.array_equal(engine(x).landmarks["2d98"], expected) else 1)
            assert os.waitpid(child, 0)[1] == 0
        for future in busy:
            future.result()


FORCED = """
import sys; sys.path[:0] = sys.argv[1:]
import numpy as np
from helpers.nets import arrays, crops, lively
from test_native import check
from acdc_fast.engines.native import NativeEngine
network = lively(width=12, stages=2)
print(NativeEngine(network.config, arrays(network)).isa)
check(network, crops(2, 40))
"""


@pytest.mark.parametrize("isa", ["avx512", "avx2", "neon", "scalar"])
def test_forced_instruction_set(isa: str) -> None:
    command = [sys.executable, "-c", FORCED, str(Path(__file__).parent), str(Path(__file__).parents[1])]
    run = subprocess.run(command, env={**os.environ, "ACDC_ISA": isa}, capture_output=True, text=True, timeout=PATIENCE)
    if isa in native.available_isas():
        assert run.returncode == 0, run.stderr
        assert run.stdout.split()[-1] == isa
    else:
        assert run.returncode != 0
        assert f"BackendUnavailable: instruction set {isa} was asked for, but this" in run.stderr


def test_memory_stays_steady() -> None:
    def resident() -> int:
        pages = Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from /proc")
    network, x = lively(width=8, stages=1), crops(1)
    engine = NativeEngine(network.config, arrays(network), threads=2)
    for _ in range(200):
        engine(x)
    before, held = resident(), engine.memory
    for _ in range(2000):
        engine(x)
    assert engine.memory == held
    assert resident() - before < 1 << 20


def test_memory_beyond_the_weights() -> None:
    """64 MB at width 64, one crop of 128 × 128."""
    network = lively(width=64, stages=1)
    engine = NativeEngine(network.config, arrays(network), threads=2)
    engine(crops(1, 128))
    assert 0 < engine.memory["arenas"] <= 64 << 20


@pytest.mark.parametrize("isa", native.available_isas())
def test_exponential(isa: str) -> None:
    """Within 1.5 ulp for every finite result, also denormals; −∞, ∞ and NaN are right."""
    x = np.linspace(-104, 88.7, 400_001, dtype=np.float32)
    truth = np.exp(x.astype(np.float64))
    ulp = np.spacing(truth.astype(np.float32)).astype(np.float64)
    assert (np.abs(native.vec_exp(x, isa) - truth) / ulp).max() <= 1.5
    special = native.vec_exp(np.float32([-np.inf, np.inf, np.nan, 0.0, 90.0, -200.0]), isa)
    np.testing.assert_array_equal(special, np.float32([0, np.inf, np.nan, 1, np.inf, 0]))


def test_arenas_of_many_sides_are_bounded_in_bytes() -> None:
    """Crops of ever new sizes hold at most 256 MiB of idle memory, or what the last call needed."""
    network = lively(width=64, stages=1)
    engine = NativeEngine(network.config, arrays(network), threads=2)
    alone = {}
    for side in (128, 192, 256, 320, 384, 448):
        one = NativeEngine(network.config, arrays(network), threads=2)
        one(crops(1, side))
        alone[side] = one.memory["arenas"]
    assert sum(alone.values()) > 2 * (256 << 20), "the sides are too small to show anything"
    for side in (128, 192, 256, 320, 384, 448, 128, 384, 256):
        engine(crops(1, side))
        assert alone[side] <= engine.memory["arenas"] <= max(256 << 20, alone[side]), side
