"""Memory over ten thousand calls: `pytest bench/test_memory.py --benchmark -s` prints what the process holds.

Calls alternate batch sizes and resolutions, so that the engine makes all its arenas early. Then nothing may grow.
"""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the memory check needs torch: pip install 'acdc-fast[bench]'")

from acdc_fast import ACDC, ACDCConfig  # noqa: E402
from acdc_fast.engines.native import NativeEngine  # noqa: E402

CALLS, FIRST = 10_000, 1_000
ALLOWED = 1 << 20  # bytes, for the allocator's own pages


def resident() -> int:
    """Bytes of this process in memory: now (Linux), or the most so far (other systems)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_memory_is_steady() -> None:
    torch.manual_seed(0)
    network = ACDC(ACDCConfig(width=16)).eval()
    engine = NativeEngine(network.config, {k: v.numpy() for k, v in network.state_dict().items()})
    generator = np.random.default_rng(0)
    inputs = [generator.random((batch, 1, side, side), np.float32) for batch in (1, 2, 3) for side in (32, 40)]
    held = {}
    for i in range(1, CALLS + 1):
        engine(inputs[i % len(inputs)])
        if i in (1, 10, 100) or i % FIRST == 0:
            held[i] = resident()
            print(f"{i:6d} calls: {held[i] / 2**20:.2f} MiB", flush=True)
    assert held[CALLS] - held[FIRST] <= ALLOWED
