"""``python -m acdc_fast.training.fits.interpolate``: weights between where a run started and where it ended.

What a run with other data gains there is mostly kept, and what it loses elsewhere mostly comes back, as long as both
lie in one valley (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from acdc_fast.errors import InputError
from acdc_fast.weights import Weights, load_weights, save_weights

from ..one_line import in_one_line


def check_share(share: float) -> None:
    """Raises `InputError` where it lies not between two weights."""
    if not 0 < share < 1:
        raise InputError(f"share must lie between 0 and 1, not {share:g}")


def interpolated(start: Weights, end: Weights, share: float) -> Weights:
    """``share`` of ``end``, the rest of ``start``, batch-norm statistics as well; the card is the end's. What was
    fitted to either (refinement, pose, confidence) fits neither and is left out. Raises `InputError`."""
    check_share(share)
    if start.config != end.config:
        raise InputError(f"weights of two networks: {start.config} and {end.config}")
    arrays = {name: start.arrays[name] * (1 - share) + end.arrays[name] * share for name in end.arrays}
    return replace(end, arrays=arrays, refinement=None, pose=None, calibration={})


@in_one_line()
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m acdc_fast.training.fits.interpolate", description=__doc__.partition("\n")[0],
        epilog="example: python -m acdc_fast.training.fits.interpolate before.safetensors after.safetensors "
        "--share 0.7 -o between.safetensors",
    )  # fmt: skip
    parser.add_argument("start", type=Path, metavar="START", help="weights that the run started from")
    parser.add_argument("end", type=Path, metavar="END", help="weights that it ended with")
    parser.add_argument("--share", type=float, required=True, metavar="X", help="how much of END, between 0 and 1")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="weights to be written")
    options = parser.parse_args(arguments)
    save_weights(options.out, interpolated(load_weights(options.start), load_weights(options.end), options.share))
    return 0


if __name__ == "__main__":
    sys.exit(main())
