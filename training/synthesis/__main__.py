"""python -m acdc_fast.training.synthesis: contact sheet, faces for training, speed."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # faces are drawn in parallel, so each uses one thread

from acdc_fast.command_parser import Parser
from acdc_fast.errors import InputError, shown

from ..command_errors import check_places, errors_in_one_line, overwrite_argument
from .dataset import PEOPLE, SIZE, expressive, reposed, skinned, synthetic
from .face_tar import CHUNK, make_many, write_drawn

LENGTH = 1_000_000
#: Options, and the least and the largest value of each.
LIMITS = {
    "size": (32, 4096), "workers": (1, 1024), "first": (0, LENGTH - 1), "render": (1, LENGTH), "speed": (1, LENGTH),
    "rows": (1, 100), "columns": (1, 100),
}  # fmt: skip

SOURCES = {"synthetic": synthetic, "skinned": skinned, "expressive": expressive, "reposed": reposed}


@errors_in_one_line()
def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        prog="python -m acdc_fast.training.synthesis",
        description="Rendered faces with exact labels.",
        epilog="example: python -m acdc_fast.training.synthesis --data-root ../data --render 900 -o s.tar",
    )
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds ict_facekit.npz")
    parser.add_argument(
        "--source", choices=sorted(SOURCES), default="synthetic",
        help="rendered people (default), with real skin, with any expression, or real faces turned to new poses",
    )  # fmt: skip
    parser.add_argument("--split", choices=sorted(PEOPLE), default="train", help="people to draw (default: train)")
    parser.add_argument("--size", type=int, default=SIZE, help=f"pixels of a picture's side (default: {SIZE})")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a CPU)")
    parser.add_argument("--first", type=int, default=0, help="number of the first face (default: 0)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--sheet", type=Path, metavar="PNG", help="draw a contact sheet")
    what.add_argument("--render", type=int, metavar="N", help="render N faces into the tar that -o names")
    what.add_argument("--speed", type=int, metavar="N", help="render N faces and print how many a second")
    parser.add_argument("-o", "--output", type=Path, help="tar for --render")
    parser.add_argument("--points", choices=["2d98", "2d68", "2d5", "3d68"], help="draw these points on the sheet")
    parser.add_argument("--rows", type=int, default=5, help="rows of the sheet (default: 5)")
    parser.add_argument("--columns", type=int, default=8, help="columns of the sheet (default: 8)")
    overwrite_argument(parser)
    options = parser.parse_args(arguments)
    if options.render is not None and options.output is None:
        parser.error("--render needs -o FILE.tar")
    if options.render is None and options.output is not None:
        parser.error("-o names the tar of --render: leave it out")
    for name, (low, high) in LIMITS.items():
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            parser.error(f"--{name} must lie in {low:,} … {high:,}, not {shown(value)}")
    if options.sheet and options.sheet.suffix.lower() not in ("", ".png"):
        parser.error(f"--sheet {options.sheet}: a contact sheet is a PNG: name it so")
    check_places(options, options.output, options.sheet)
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    sized = {} if options.source == "reposed" else {"length": LENGTH, "size": options.size}
    database = SOURCES[options.source](options.data_root, options.split, **sized)
    if options.sheet:
        from .sheet import contact_sheet

        contact_sheet(database, options.sheet, options.points, options.rows, options.columns)
        print(f"wrote {options.sheet}")
        return 0
    start = time.perf_counter()
    if options.render is not None:
        indices = range(options.first, min(options.first + options.render, len(database)))
        if not indices:
            raise InputError(f"--first {options.first}: there are {len(database)} faces, numbered from 0")
        write_drawn(options.output, database.rendered, database.markups, indices, options.workers)
        print(f"wrote {len(indices)} faces to {options.output} in {time.perf_counter() - start:.0f} s")
        return 0
    warm = options.workers * CHUNK  # the time for starting processes is left out
    indices = range(options.first, options.first + warm + options.speed)
    stamps = [
        (time.perf_counter(), time.process_time()) for _ in make_many(database.rendered, indices, options.workers)
    ]
    took, busy = (stamps[-1][k] - stamps[warm - 1][k] for k in (0, 1))
    print(f"{options.speed / took:.1f} faces a second with {options.workers} processes ({took:.1f} s)")
    if options.workers == 1:
        print(f"{1000 * busy / options.speed:.1f} ms of CPU time a face")
    return 0


if __name__ == "__main__":
    sys.exit(main())
