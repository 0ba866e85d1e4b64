"""Standard streams that no output of ours can break."""

from __future__ import annotations

import io
import os
import sys


def steady() -> None:
    """A stream that was closed (``>&-``) leads nowhere; one that has no letter for a character gets its escape.

    The place of a closed stream is taken, so that no file of ours gets its number and the lines of others.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8", errors="backslashreplace"))  # noqa: SIM115
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def holds_everything() -> bool:
    """Whether stdout has letters for all text; if not, JSON must bring its own escapes."""
    return str(sys.stdout.encoding).lower().replace("_", "-").startswith("utf-")
