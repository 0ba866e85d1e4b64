"""How the commands of training report bad input: one line, no stack trace."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from acdc_fast.ends import check_no_word_is_empty, ended

P = ParamSpec("P")


def errors_in_one_line(name: str = "error") -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Decorates a command's ``main``: errors become ``name: what is wrong`` on stderr.

    Exit codes as `acdc_fast.ends.ended` gives them. Its words are the list that it is called with, else the shell's.
    """

    def decorate(main: Callable[P, int]) -> Callable[P, int]:
        @wraps(main)
        def command(*args: P.args, **kwargs: P.kwargs) -> int:
            def work() -> int:
                given = args[0] if args else None
                check_no_word_is_empty(given if isinstance(given, list) else sys.argv[1:])
                return main(*args, **kwargs)

            return ended(name, work)

        return command

    return decorate
