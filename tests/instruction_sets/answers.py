"""``python answers.py OUT ISA…``: what the engine answers with each instruction set, for two small networks, and
exponentials; for bfloat16 its own two operations."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from helpers.nets import arrays, crops, lively

from acdc_fast.engines.native import NativeEngine, native_library

native, found, rng = native_library(), {}, np.random.default_rng(0)
wide = np.concatenate([np.linspace(-104, 89, 20001), -np.logspace(-42, 2, 999), [np.nan, np.inf, -np.inf]])
numbers = (rng.normal(size=4096) * 10.0 ** rng.integers(-44, 38, 4096)).astype(np.float32)
numbers[:4] = np.nan, np.inf, -np.inf, -0.0
for isa in sys.argv[2:]:
    if isa.startswith(("avx512bf16", "avx512amx")):
        found[f"{isa} rounded"] = native.bf16_round(numbers, isa)
        pairs = native.bf16_round(rng.permutation(numbers).repeat(2), isa)
        found[f"{isa} products"] = native.bf16_dot(numbers, pairs, pairs[::-1].copy(), isa)
        continue
    found[f"{isa} exponentials"] = native.vec_exp(wide.astype(np.float32), isa)
    for width, side in ((12, 40), (20, 32)):
        network = lively(width=width, stages=2)
        p = NativeEngine(network.config, arrays(network), threads=1, isa=isa)(crops(2, side))
        for markup, points in p.landmarks.items():
            found[f"{isa} {width} {markup}"], found[f"{isa} {width} {markup} spread"] = points, p.covariance[markup]
        found[f"{isa} {width} pose"], found[f"{isa} {width} mask"] = p.pose, p.mask
np.savez(sys.argv[1], **found)
