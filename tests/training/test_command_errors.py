"""The words that a program of training was called with: none may be empty, be they from the shell or a list."""

from __future__ import annotations

import sys

import pytest

from acdc_fast.training.command_errors import errors_in_one_line

SHELL, CALLED = ["program", "--out", ""], ["--out", ""]


@pytest.mark.parametrize(
    ("shell", "called", "code"), [(SHELL, None, 2), (["program"], CALLED, 2), (SHELL, ["--out", "x"], 0)]
)
def test_an_empty_word_is_refused(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    shell: list[str],
    called: list[str] | None,
    code: int,
) -> None:
    seen: list[list[str] | None] = []

    @errors_in_one_line("program")
    def main(arguments: list[str] | None = None) -> int:
        seen.append(arguments)
        return 0

    monkeypatch.setattr(sys, "argv", shell)
    assert main(called) == code
    assert seen == ([] if code else [called])
    told = "program: an argument after --out is empty; is a variable of the shell not set?\n" if code else ""
    assert capsys.readouterr().err == told
