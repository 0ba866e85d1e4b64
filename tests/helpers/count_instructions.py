"""Compiles the heaviest Triton kernels for GPUs that are not there and counts what a warp executes, as JSON on stdout.

A program of its own, as compile_all.py, whose launches it takes. Counts are for one program, float16, channels last, at
the tiles that an H100 gets for 32 faces of 128² and all 239 maps. Both sides of a branch count, so they are a bound.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

import torch
import triton
from helpers import compile_all, sass

#: Kernel → turns of its loops, in the order in which they begin; for sm_80 where it differs. Tiles have 32×64 pixels,
#: strips of the gradients 8 rows; a step has 32 pixels (64 for the transition on sm_80), a block of maps 64.
TURNS: dict[str, dict[str, tuple[int, ...]]] = {
    "geometry_transfer.statistics_kernel.last": {"": (32, 2, 3)},  # rows, steps, rows of the 3×3
    "cascade_transition.transition_kernel.STEM.last": {"": (32, 2, 3, 4), "sm_80": (32, 1, 3, 4)},  # …, blocks of maps
    # the stream of the 68 3D points, two blocks of maps
    "geometry_transfer_backward.stream_gradient_kernel.last": {"": (8, 4, 3, 2)},
    "geometry_transfer_backward.transfer_gradient_kernel.last": {"": (8, 4, 3)},
    "geometry_transfer_backward.depthwise_gradient_kernel.ADD.last": {"": (8, 4, 9)},
}
FAMILIES = ("sm_80", "sm_90")


def main() -> None:
    found = {}
    for family in FAMILIES:
        launches = {key: rest for key, *rest in compile_all.launches(family, torch.float16, True)}
        for name, turns in TURNS.items():
            fn, given, options = launches[name]
            compiled = triton.compile(
                compile_all.source(fn, given), target=compile_all.TARGETS[family], options=options
            )
            with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
                file.write(compiled.asm["cubin"])
                file.flush()
                command = [compile_all.BIN / "cuobjdump", "-sass", file.name]
                text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            try:
                counts = sass.executed(text, turns.get(family, turns[""]))
            except ValueError as error:
                raise SystemExit(f"{name} for {family}: {error}") from None
            found[f"{name}/{family}"] = {unit: round(n) for unit, n in counts.items()} | {
                "warps": options.get("num_warps", 4)
            }
            print(name, family, found[f"{name}/{family}"], file=sys.stderr, flush=True)
    json.dump(found, sys.stdout, indent=0, sort_keys=True)


if __name__ == "__main__":
    main()
