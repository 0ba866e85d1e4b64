"""The list of planted faults names tests that are there: when they move, the list must move with them."""

from __future__ import annotations

import re

import pytest
from helpers.paths import ROOT

ROWS = [
    line.split("|")[1:3]
    for line in (ROOT / "docs" / "notes" / "planted-faults.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| fault", "| ---"))
]


def absent(cell: str) -> list[str]:
    """Files and tests that a cell names and that are not there. A test without a file is one of the file before it."""
    path, lacking = "", []
    for word in re.findall(r"`((?:tests|wheels)/[^`]+|test_[^`]+)`", cell):
        named, _, test = (path, "", word) if word.startswith("test_") else word.partition("::")
        path = named
        file = ROOT / path
        if not file.exists() or (test and not re.search(rf"^def {test}\b", file.read_text(encoding="utf-8"), re.M)):
            lacking.append(word)
    return lacking


def test_catchers_are_there() -> None:
    assert len(ROWS) > 80
    assert [(fault.strip(), word) for fault, cell in ROWS for word in absent(cell)] == []


@pytest.mark.parametrize("word", ["tests/batch/test_none.py", "tests/docs/test_planted_faults.py::test_none"])
def test_a_name_that_is_not_there_is_seen(word: str) -> None:
    assert absent(f" `tests/docs`, `{word}` ") == [word]
