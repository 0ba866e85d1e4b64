"""Errors written for the person who reads them: what was wrong, where, what to do."""

from __future__ import annotations


class AcdcError(Exception):
    """Base of the package's own errors. The command line prints its message alone, without a stack trace."""


class InputError(AcdcError, ValueError):
    """An image, a box, a crop or a file that cannot be used; the message names it."""


class BackendUnavailable(AcdcError, RuntimeError):
    """A backend asked for by name cannot serve; the message gives the reason and the remedy."""
