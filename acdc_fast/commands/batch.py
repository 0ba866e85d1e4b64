"""`acdc-fast batch`: folders, tars or Parquet files of pictures as one job."""

from __future__ import annotations

import argparse
from pathlib import Path

from .arguments import (
    camera_arguments,
    camera_of,
    counted,
    make_room,
    model_arguments,
    model_of,
    note,
    search_arguments,
    search_of,
)

#: One line of help, and an example.
HELP = "align folders, tars or parquet files of images; goes on where a run was cut off"
EXAMPLE = "acdc-fast batch photos/ -o faces.parquet"


def add_arguments(sub: argparse.ArgumentParser) -> None:
    text = "folder, .tar or .tar.gz of images, parquet file or image; several make one output"
    sub.add_argument("input", nargs="+", metavar="IN", help=text)
    sub.add_argument("-o", "--out", required=True, metavar="OUT.parquet|.jsonl|.csv")
    text = "write the output again if it exists, also if it is of another job"
    sub.add_argument("--overwrite", action="store_true", help=text)
    sub.add_argument("--column", help="column of a parquet file that holds image paths or bytes")
    text = "write an annotated picture of each image to this folder, too; not with --ray"
    sub.add_argument("--draw", metavar="DIR", help=text)
    text = "workers of Ray do it: on this machine, or in the cluster at ADDRESS (auto: this machine's)"
    sub.add_argument("--ray", nargs="?", const="local", metavar="ADDRESS", help=text)
    search_arguments(sub)
    camera_arguments(sub)
    model_arguments(sub)


def run(options: argparse.Namespace) -> int:
    from ..batch.job import run_batch

    out, model, search = options.out, model_of(options), search_of(options)
    make_room(Path(out))
    tally = run_batch(
        model, options.input, out, options.column, overwrite=options.overwrite, search=search,
        camera=camera_of(options), cluster=options.ray, draw=options.draw,
    )  # fmt: skip
    rows = counted(tally.rows, "image")
    not_read = f"{counted(tally.broken, 'image')} {'was' if tally.broken == 1 else 'were'} not read"
    counts = f"{counted(tally.faces, 'face')}, {not_read}"
    if tally.stopped is not None:
        text = f"{out}: stopped after {tally.rows} of {tally.total} images, which are kept in {out}.parts"
        note(f"{text}; the same command goes on from there")
        return 128 + tally.stopped
    if tally.resumed == tally.total:
        print(f"{out}: done already; {rows}, {counts}; --overwrite does it again")
    else:
        resumed = f", {tally.resumed} of them from the run before" if tally.resumed else ""
        print(f"{out}: {rows}{resumed}; {counts}")
    return 2 if tally.broken else 0
