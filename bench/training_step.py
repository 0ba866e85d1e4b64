"""Training steps of ACDC (all stages, L1 on landmarks and pose, backward), one for each request.

test_training.py runs this as a child process. For each line on stdin it does one step and prints its seconds, its loss
and the norm of its gradient. At the end of stdin it prints the peak of memory, minus the memory after building.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main(variant: str, width: int, batch: int, side: int, threads: int) -> None:
    """``variant``: "eager" (reference ops, NCHW, as plain torch trains), "fused" (native ops, channels last) or
    "bfloat16" (as "fused", under autocast)."""
    os.environ["ACDC_BACKEND"] = "reference" if variant == "eager" else "native"
    import torch
    from torch import nn

    from acdc_fast import ACDC, ACDCConfig, ops

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net = ACDC(ACDCConfig(width=width)).train()
    if variant != "eager":
        net = net.to(memory_format=torch.channels_last)
    assert (ops.backends.choose("geometry_transfer", None, "cpu", torch.float32) == "reference") == (variant == "eager")
    crops, pose = torch.rand(batch, 1, side, side), torch.rand(batch, 3)
    points = {name: torch.rand(batch, count, 2) for name, count in net.config.points.items()}
    before = resident_bytes()
    for _ in sys.stdin:
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=variant == "bfloat16"):
            stages = net(crops, all_stages=True).stages
        losses = [(s.landmarks[m] - points[m]).abs().sum(2).mean() for s in stages for m in points]
        loss = sum(losses) + sum((s.pose / 90 - pose).abs().mean() for s in stages)
        net.zero_grad(set_to_none=True)
        loss.backward()
        seconds = time.perf_counter() - start
        norm = nn.utils.get_total_norm([p.grad for p in net.parameters() if p.grad is not None])
        print(json.dumps({"seconds": seconds, "loss": loss.item(), "gradient": norm.item()}), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"bytes": peak - before}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
