"""How the commands of training report bad input: one line, no stack trace."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from acdc_fast.errors import AcdcError, InputError

P = ParamSpec("P")


def errors_in_one_line(name: str = "error") -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Decorates a command's ``main``: errors become ``name: what is wrong`` on stderr.

    Exit code 2 for input that cannot be used, else 1; 130 after Ctrl-C.
    """

    def decorate(main: Callable[P, int]) -> Callable[P, int]:
        @wraps(main)
        def command(*args: P.args, **kwargs: P.kwargs) -> int:
            try:
                return main(*args, **kwargs)
            except AcdcError as error:
                print(f"{name}: {error}", file=sys.stderr)
                return 2 if isinstance(error, InputError) else 1
            except KeyboardInterrupt:
                return 130

        return command

    return decorate
