"""``python -m acdc_fast.training.fits.interpolate``: a weighted mean of the weights before and after a run.

A run on other data improves some databases and worsens others. The mean mostly keeps the gain and undoes the loss
(Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from acdc_fast.command_parser import Parser
from acdc_fast.errors import InputError
from acdc_fast.weights import Weights, load_weights, save_weights

from ..command_errors import check_places, errors_in_one_line, overwrite_argument


def check_share(share: float) -> None:
    """Raises `InputError` unless 0 < ``share`` < 1."""
    if not 0 < share < 1:
        raise InputError(f"share must lie between 0 and 1, not {share:g}")


def interpolated(start: Weights, end: Weights, share: float) -> Weights:
    """``share`` of ``end`` and the rest of ``start``, batch norm's statistics included, with the card of ``end``.

    Refinement, pose, confidence, visibility and what tells upright faces were fitted to other weights. They are left
    out. The markups in the mask may differ, because they change no array; those of ``end`` count. Raises `InputError`
    if the two networks differ.
    """
    check_share(share)
    if replace(start.config, mask_markups=end.config.mask_markups) != end.config:
        raise InputError(f"the weights are of two different networks: {start.config} and {end.config}")
    arrays = {name: start.arrays[name] * (1 - share) + end.arrays[name] * share for name in end.arrays}
    return replace(end, arrays=arrays, refinement=None, pose=None, visibility=None, upright=None, calibration={})


@errors_in_one_line()
def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        prog="python -m acdc_fast.training.fits.interpolate", description=__doc__.partition("\n")[0],
        epilog="example: python -m acdc_fast.training.fits.interpolate before.safetensors after.safetensors "
        "--share 0.7 -o between.safetensors",
    )  # fmt: skip
    parser.add_argument("start", type=Path, metavar="START", help="weights that the run started from")
    parser.add_argument("end", type=Path, metavar="END", help="weights that it ended with")
    parser.add_argument("--share", type=float, required=True, metavar="X", help="how much of END, between 0 and 1")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="weights file to write")
    overwrite_argument(parser)
    options = parser.parse_args(arguments)
    check_places(options)
    save_weights(options.out, interpolated(load_weights(options.start), load_weights(options.end), options.share))
    return 0


if __name__ == "__main__":
    sys.exit(main())
