"""`acdc-fast train` and `acdc-fast evaluate`: they import `acdc_fast.training` only when they run."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from ..errors import BackendUnavailable

#: Module below acdc_fast.training, one line of help.
COMMANDS = {
    "train": ("loop.train", "train a network"),
    "evaluate": ("evaluation.evaluate", "evaluate weights on databases and print the paper's tables"),
}


def opened(name: str) -> Any:
    """The module of a command: it has `add_arguments` and `run`. Raises `BackendUnavailable` without the extra."""
    try:
        return importlib.import_module(f"acdc_fast.training.{COMMANDS[name][0]}")
    except ImportError as error:
        reason = f"'{name}' needs the training extra ({error}): pip install 'acdc-fast[train]'"
        raise BackendUnavailable(reason) from error


def run(options: argparse.Namespace) -> int | None:
    code: int | None = opened(options.command).run(options)
    return code
