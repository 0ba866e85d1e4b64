"""What readers do with broken or missing input."""

from __future__ import annotations

from acdc_fast.errors import InputError


class Broken:
    """Raises for broken or missing input, or (``skip``) adds a line to ``messages`` and goes on."""

    def __init__(self, skip: bool = False) -> None:
        self.skip = skip
        self.messages: list[str] = []

    def report(self, message: str, cause: Exception | None = None) -> None:
        """Raises `InputError` with this message. With ``skip`` keeps the message and returns: the reader goes on."""
        if not self.skip:
            raise InputError(f"{message} (--skip-broken goes on without it)") from cause
        self.messages.append(message)
