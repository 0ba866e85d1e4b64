"""The options that the commands of this folder share."""

from __future__ import annotations

from pathlib import Path

from acdc_fast.command_parser import Parser
from acdc_fast.errors import InputError

from ..command_errors import overwrite_argument


def fit_parser(module: str, doc: str | None, example: str = "") -> Parser:
    """Parser of ``python -m acdc_fast.training.fits.MODULE WEIGHTS --data-root DIR -o FILE``.

    ``doc``: the module's docstring, whose first line becomes the description. ``example``: options that the example
    names beside those which are required everywhere.
    """
    command = f"python -m acdc_fast.training.fits.{module}"
    parser = Parser(
        prog=command, description=(doc or "").partition("\n")[0],
        epilog=f"example: {command} in.safetensors --data-root data {example}-o out.safetensors",
    )  # fmt: skip
    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help="weights file to start from")
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR", help="folder that holds the databases")
    parser.add_argument("--half", action="store_true", help="write the weights in half precision")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="weights file to write")
    overwrite_argument(parser)
    return parser


def check_limit(limit: int | None, name: str = "--limit") -> None:
    """Raises `InputError` unless ``limit`` is None or at least 1."""
    if limit is not None and limit < 1:
        raise InputError(f"{name} must be at least 1, not {limit}")
