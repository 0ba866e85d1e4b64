"""Command line: `acdc-fast COMMAND`. Errors are one line on stderr; exit code 2 for bad input, 1 for anything else."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence

from .. import __version__
from ..command_parser import Parser
from ..ends import check_no_word_is_empty, ended
from . import train
from .streams import steady

#: In the order that `--help` lists them; each is a file of this room, but for those of `train.COMMANDS`.
COMMANDS = ("align", "video", "batch", "train", "evaluate", "export", "bench", "env")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; gives the exit code."""
    steady()
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.filterwarnings("ignore", module="PIL")  # of damaged metadata; what matters comes as an error
    return ended("acdc-fast", lambda: _run(arguments))


def _run(arguments: list[str]) -> int | None:
    check_no_word_is_empty(arguments)
    options, unknown = _parser(arguments).parse_known_args(arguments)
    if unknown:
        options.parser.error(f"no such option: {' '.join(unknown)}")
    code: int | None = options.run(options)
    return code


def _parser(arguments: Sequence[str]) -> Parser:
    parser = Parser(prog="acdc-fast", description="Facial landmarks and head pose with AC-DC.")
    parser.add_argument("--version", action="version", version=f"acdc-fast {__version__}")
    parser.words, parser.names = arguments, COMMANDS
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, text: str, example: str) -> Parser:
        about = text[0].upper() + text[1:] + "."
        sub = commands.add_parser(name, help=text, description=about, epilog=f"example: {example}")
        sub.words = arguments
        sub.set_defaults(command=name, parser=sub)
        return sub

    for name in COMMANDS:
        if name in train.COMMANDS:
            sub = command(name, train.COMMANDS[name][1], f"acdc-fast {name} --help")
            sub.set_defaults(run=train.run)
            if name in arguments[:1]:
                train.opened(name).add_arguments(sub)
            continue
        module = importlib.import_module(f".{name}", __package__)
        sub = command(name, module.HELP, module.EXAMPLE)
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
