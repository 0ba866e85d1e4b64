"""`acdc-fast export`: network and readout as one file for other runtimes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..checks import check_free
from ..errors import InputError
from .arguments import make_room, note, overwrite_argument, positive, weights_argument, weights_named

#: One line of help, and an example.
HELP = "write the model for other runtimes: ONNX or torch.export"
EXAMPLE = "acdc-fast export model.onnx --weights acdc-w16-fast --stages 2"


def add_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("out", metavar="OUT", help="OUT.onnx, or OUT.pt2 for torch.export.load")
    sub.add_argument("--batch", type=_batch_size, default="dynamic", help="a number, or dynamic (%(default)s)")
    overwrite_argument(sub)
    weights_argument(sub)
    sub.add_argument("--stages", type=positive, help="the first stages alone: smaller, faster, less exact (all)")
    sub.add_argument("--resolution", type=positive, help="side of the crops, a multiple of 8 (that of the weights)")


def _batch_size(text: str) -> int | str:
    return text if text == "dynamic" else positive(text)


def run(options: argparse.Namespace) -> None:
    from ..export import export_onnx, export_program

    suffix = Path(options.out).suffix.lower()
    if suffix not in (".onnx", ".pt2"):
        raise InputError(f"{options.out}: the name must end in .onnx, or in .pt2 for torch.export")
    check_free([Path(options.out)], options.overwrite)
    name, weights = weights_named(options)
    make_room(Path(options.out))
    if sys.stderr.isatty():
        note("the model is traced, which takes about a minute")
    write = export_onnx if suffix == ".onnx" else export_program
    outputs = write(weights, options.out, options.batch, options.stages, options.resolution, name)
    print(f"{options.out} is written; its outputs: {', '.join(outputs)}")
