"""The measured peaks of the machine, and the counted operations of the network."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from acdc_fast import ACDCConfig
from acdc_fast.engines.native import native_library

#: Convolutions of a U-Net: name, kind, output size as a fraction of S, inputs and outputs as multiples of the width.
LAYERS = (
    ("encode1", "same", 1, 1, 1), ("down1", "down", 2, 1, 1), ("encode2", "same", 2, 1, 2), ("down2", "down", 4, 2, 2),
    ("encode3", "same", 4, 2, 4), ("down3", "down", 8, 4, 4), ("up3", "up", 4, 4, 4), ("decode3", "same", 4, 4, 2),
    ("up2", "up", 2, 2, 2), ("decode2", "same", 2, 2, 1), ("up1", "up", 1, 1, 1), ("decode1", "same", 1, 1, 1),
)  # fmt: skip


def operations(config: ACDCConfig, side: int = 128) -> dict[str, tuple[float, float]]:
    """Layer → (direct, transformed) FLOP of the whole cascade, two for a multiply-add, without transforms and softmax.

    Direct: the network as written. Transformed: products after Winograd. For 4×4 outputs these are 36 (stride 1) or 81
    (stride 2) instead of 144. The product of the geometry transfer is computed twice, so it counts twice; skipped tiles
    count too. The first stage's encode1 is folded with its stem and counted there.
    """
    w, area, out = config.width, side * side, {}
    for name, kind, shrink, inputs, outputs in LAYERS:
        stages = config.stages - (name == "encode1")
        direct = 2 * stages * (side // shrink) ** 2 * inputs * outputs * w * w * 9.0
        out[name] = (direct, direct * (81 if kind == "down" else 36) / 144)
    k, streams = config.stream_channels, len(config.chain[:1]) + len(config.solid)
    maps = 2.0 * config.stages * area * k * (config.maps + 9 * streams)
    out["extremes"], out["moments"] = (0.0, maps), (maps, maps)
    stem = 2.0 * (config.stages - 1) * area * w * (2 + 2 * w)
    out["stem"] = (stem + 2.0 * area * (w + 9 * w * w), stem + 2.0 * area * 9 * w)
    return out


def fma_peak(threads: int, isa: str = "", rounds: int = 7) -> float:
    """FLOP/s of fused multiply-adds in registers, all threads together: the best of several rounds."""
    native, steps = native_library(), 2_000_000
    native.fma_rounds(1000, isa)
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            start = time.perf_counter()
            total = sum(pool.map(lambda _: native.fma_rounds(steps, isa), range(threads)))
            best = max(best, total / (time.perf_counter() - start))
    return best


def read_bandwidth(threads: int, megabytes: int = 256, rounds: int = 7) -> float:
    """Bytes/s that all threads together read from memory, each from its own array: the best of several rounds."""
    arrays = [np.ones(megabytes * 1024 * 1024 // 4 // threads, np.float32) for _ in range(threads)]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            start = time.perf_counter()
            list(pool.map(np.max, arrays))
            best = max(best, sum(a.nbytes for a in arrays) / (time.perf_counter() - start))
    return best
