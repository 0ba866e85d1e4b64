"""`acdc-fast export`: the network as ONNX."""

from __future__ import annotations

import argparse

from .arguments import model_arguments, model_of, positive

#: One line of help, and an example.
HELP = "write the network as ONNX"
EXAMPLE = "acdc-fast export model.onnx --batch dynamic"


def add_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("out", metavar="OUT.onnx")
    sub.add_argument("--batch", type=_batch_size, default="dynamic", help="a number, or dynamic (%(default)s)")
    model_arguments(sub)


def _batch_size(text: str) -> int | str:
    return text if text == "dynamic" else positive(text)


def run(options: argparse.Namespace) -> None:
    model_of(options).export_onnx(options.out, batch=options.batch)
    print(f"{options.out} is written")
