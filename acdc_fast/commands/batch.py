"""`acdc-fast batch`: a folder or a Parquet file of pictures as one job."""

from __future__ import annotations

import argparse

from .arguments import model_arguments, model_of, note

#: One line of help, and an example.
HELP = "align a folder or a parquet file of images; takes up a run that was cut off"
EXAMPLE = "acdc-fast batch photos/ -o faces.parquet"


def add_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("input", metavar="IN_DIR|PARQUET")
    sub.add_argument("-o", "--out", required=True, metavar="OUT.parquet")
    sub.add_argument("--column", help="column of a parquet file that holds image paths or bytes")
    model_arguments(sub)


def run(options: argparse.Namespace) -> int:
    from ..batch.job import run_batch

    tally = run_batch(model_of(options), options.input, options.out, options.column, note=note)
    resumed = f", {tally.resumed} of them from the run before" if tally.resumed else ""
    print(f"{options.out}: {tally.rows} images{resumed}; {tally.faces} faces found now, {tally.broken} images not read")
    return 2 if tally.broken else 0
