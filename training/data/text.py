"""Lines, numbers and rows of annotation files in text form, with errors that name file and line."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acdc_fast.errors import InputError

from .broken import Broken


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """("file:line", text) of every line that is not blank. Raises `InputError` if the file cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield f"{path}:{number}", line


def read_bytes(path: Path) -> bytes:
    """All bytes of a file. Raises `InputError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def table_rows(data: bytes, where: str) -> Iterator[tuple[str, list[str]]]:
    """("where:line", cells) of each row of a CSV that is not blank. Raises `InputError` for what is no CSV in UTF-8."""
    try:
        rows = csv.reader(io.StringIO(data.decode("utf-8")))
        for row in rows:
            if row:
                yield f"{where}:{rows.line_num}", row
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{where}: cannot be read: {error}") from error


def numbers(words: Sequence[str], count: int, where: str, broken: Broken) -> list[float] | None:
    """``count`` finite numbers, or None after a report."""
    if len(words) != count:
        broken.report(f"{where}: {count} numbers expected, {len(words)} found")
        return None
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        broken.report(f"{where}: {error}", error)
        return None
    if not np.isfinite(values).all():
        broken.report(f"{where}: a number is not finite")
        return None
    return values


def labelled_rows(
    rows: Iterable[tuple[str, list[str]]],
    values_of: Callable[[list[str], str], Any],
    missing: Callable[[str], str | None],
    broken: Broken,
) -> tuple[list[str], list[Any]]:
    """Names of the pictures and values of all good rows, whose first cell is a picture.

    ``values_of(cells, where)`` gives a row's values, or None after a report. ``missing(name)`` says what is wrong with
    a picture, None if nothing; then the row is reported too.
    """
    names: list[str] = []
    values: list[Any] = []
    for line, row in rows:
        found = values_of(row, line)
        if found is None:
            continue
        if wrong := missing(row[0]):
            broken.report(f"{line}: {wrong}")
            continue
        names.append(row[0])
        values.append(found)
    return names, values
