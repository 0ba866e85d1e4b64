"""Writes docs/reference/command-line.md from the help texts of the commands. A test holds the two together.

`python docs/scripts/command_line.py` writes the page; `page()` gives its text.
"""

from __future__ import annotations

import os
from pathlib import Path

from acdc_fast.commands.cli import _parser

PAGE = Path(__file__).resolve().parents[1] / "reference" / "command-line.md"
COMMANDS = ("align", "video", "batch", "train", "evaluate", "export", "bench", "env")
HEAD = """# Command line

`acdc-fast COMMAND --help` prints the same. This page is written by `docs/scripts/command_line.py`.

| exit code | meaning |
| ---: | --- |
| 0 | done; a picture without a face is no error |
| 1 | not the input, but a backend or the disk failed |
| 2 | some input could not be used; the rest was done |
| 128 + n | ended by signal n; `train` and `batch` save first, the others leave nothing half-written |
| 130 | Ctrl-C |
"""


def help_of(command: str) -> str:
    """What `acdc-fast COMMAND --help` prints."""
    os.environ["COLUMNS"], os.environ["NO_COLOR"] = "100", "1"  # argparse reads them for each help text
    parser = _parser([command])
    choices = next(a.choices for a in parser._actions if a.choices and "align" in a.choices)
    text: str = choices[command].format_help()  # type: ignore[index, call-overload]
    return text


def page() -> str:
    """The whole page."""
    parts = [f"\n## {name}\n\n```text\n{help_of(name).rstrip()}\n```\n" for name in COMMANDS]
    return HEAD + "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
