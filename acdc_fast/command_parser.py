"""Mistakes on the command line: one bounded line, with a guess at what was meant."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NoReturn

from .errors import one_line


class Parser(argparse.ArgumentParser):
    """As argparse's, but an error is one line without the usage. Its commands are parsers of this kind too.

    ``words``: the command line, where an option that nobody knows is looked for; without it nothing is guessed.
    """

    words: Sequence[str] = ()
    #: Names of commands; those of the main parser alone.
    names: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        if "invalid choice" in message and self.names and self.words and self.words[0] not in self.names:
            word, listed = self.words[0], ", ".join(self.names)
            message = f"no command {word[:100]!r}; there are {listed}{_meant(word, self.names)}"
        else:
            message += self._meant_option()
        self.exit(2, one_line(f"{self.prog}: {message}") + "\n")

    def _meant_option(self) -> str:
        known = [option for option in self._option_string_actions if option.startswith("--")]
        for word in self.words:
            name = word.partition("=")[0]
            if word == "--":
                break
            if word.startswith("--") and not any(option.startswith(name) for option in known):
                return _meant(name, known)
        return ""


def _meant(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word[:100], known, n=1)
    return f": did you mean {near[0]}?" if near else ""
