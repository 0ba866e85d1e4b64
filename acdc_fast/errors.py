"""Errors written for the person who reads them: what was wrong, where, what to do."""

from __future__ import annotations

import reprlib

#: Longest message: what a file holds may be quoted in it, and a hostile file holds much.
LONGEST = 1000


class AcdcError(Exception):
    """Base of the package's own errors. The command line prints its message alone, without a stack trace."""

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


class InputError(AcdcError, ValueError):
    """An image, a box, a crop or a file that cannot be used; the message names it."""


class BackendUnavailable(AcdcError, RuntimeError):
    """A backend asked for by name cannot serve; the message gives the reason and the remedy."""


def one_line(text: str) -> str:
    """The text on one line of bounded length; characters that would move the cursor are written as escapes."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
    text = " ".join(text.split()) if any(c in text for c in "\n\r\t\v\f") else text
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_short = reprlib.Repr()
_short.maxlevel = 2  # a list of lists of lists has many
_short.maxstring = _short.maxother = _short.maxlong = 60


def shown(value: object) -> str:
    """``repr`` of a value from a file: short, however large or deep the value is."""
    return _short.repr(value)
