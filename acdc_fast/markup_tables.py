"""Markups that the package lacks, as plain values: from a settings file or a weights file. Read strictly."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .errors import InputError, shown
from .markups import MARKUPS, PACKAGED, Markup, register

#: Most points of one markup, most markups of one file, and most numbers in all lines or groups of one field.
MOST_POINTS, MOST_MARKUPS, MOST_NUMBERS = 500, 16, 4000
#: Longest name of a point.
LONGEST = 60
#: A markup's name becomes part of the names of columns, files and tensors.
NAME = re.compile(r"[23]d[a-z0-9-]{1,28}")
FIELDS = ("name", "points", "mirror_pairs", "contours", "eye_corners", "five", "means")


def read_tables(values: object, where: str) -> list[Markup]:
    """A list of markups, each of which may be means of one before it. Raises `InputError`."""
    if not isinstance(values, (list, tuple)) or len(values) > MOST_MARKUPS:
        raise InputError(f"{where} must be a list of up to {MOST_MARKUPS} markups, not {shown(values)}")
    found: dict[str, Markup] = {}
    for i, each in enumerate(values):
        markup = read_markup(each, f"{where}[{i}]", found)
        if markup.name in found:
            raise InputError(f"{where}[{i}]: markup {markup.name} stands twice")
        found[markup.name] = markup
    return list(found.values())


def read_markup(values: object, where: str, before: Mapping[str, Markup] | None = None) -> Markup:
    """A `Markup` from its fields by name. ``points`` is their number, or a list of their names; wherever a point is
    meant, its name or its number, from 0, may stand. A group of one point may be that point. ``before``: what is known
    beside the package's. Raises `InputError`.
    """
    if isinstance(values, Mapping) and (stray := [key for key in values if key not in FIELDS]):
        raise InputError(f"{where}: unknown field {shown(stray[0])}; known: {', '.join(FIELDS)}")
    if not isinstance(values, Mapping) or "name" not in values or "points" not in values:
        raise InputError(f"{where}: a markup has a name and points, and may have {', '.join(FIELDS[2:])}")
    name = values["name"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        wrong = "begins with 2d or 3d, and small letters, digits or hyphens follow, 30 in all at most"
        raise InputError(f"{where}: the name of a markup {wrong}; not {shown(name)}")
    where = f"{where}: markup {name}"
    names, count = _points(values["points"], where)
    reader = _Points(names, count, where)
    means = values.get("means")
    try:
        return Markup(
            name, count, reader.pairs(values.get("mirror_pairs"), "mirror_pairs"),
            reader.rows(values.get("contours"), "contours", least=2),
            reader.pair(values.get("eye_corners"), "eye_corners"),
            None if values.get("five") is None else reader.rows(values["five"], "five"),
            None if means is None else _means(means, {**MARKUPS, **(before or {})}, where), names,
        )  # fmt: skip
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{where}: {str(error).partition(': ')[2] or error}") from error


def table_of(markup: Markup) -> dict[str, Any]:
    """What `read_markup` reads."""
    means = markup.means and {"of": markup.means[0], "groups": markup.means[1]}
    return {
        "name": markup.name, "points": markup.names or markup.points, "mirror_pairs": markup.mirror_pairs,
        "contours": markup.contours, "eye_corners": markup.eye_corners, "five": markup.five, "means": means,
    }  # fmt: skip


def own_markups(names: Iterable[str]) -> list[Markup]:
    """Those of these markups that the package lacks, after those whose means they are."""
    found: list[Markup] = []
    for name in names:
        markup = MARKUPS.get(name)
        if markup is not None and name not in PACKAGED:
            before = own_markups([markup.means[0]]) if markup.means else []
            found += [each for each in (*before, markup) if each not in found]
    return found


@contextmanager
def registered(markups: Iterable[Markup], where: str) -> Iterator[None]:
    """Makes markups known; they are forgotten again where the block fails. Raises `InputError` where another markup has
    the name of one of them."""
    new: list[str] = []
    try:
        for markup in markups:
            known = markup.name in MARKUPS
            try:
                register(markup)
            except ValueError as error:
                raise InputError(f"{where}: {error}") from error
            new += [] if known else [markup.name]
        yield
    except BaseException:
        for name in new:
            MARKUPS.pop(name, None)
        raise


def _points(points: object, where: str) -> tuple[tuple[str, ...], int]:
    """Their names, where there are any, and their number."""
    names: tuple[str, ...] = ()
    if isinstance(points, (list, tuple)):
        for k, name in enumerate(points[: MOST_POINTS + 1]):
            if not isinstance(name, str) or not 0 < len(name) <= LONGEST or not name.isprintable():
                raise InputError(f"{where}: points[{k}] must be a name of up to {LONGEST} letters, not {shown(name)}")
            if name in names:
                raise InputError(f"{where}: points[{k}]: the name {name!r} stands twice")
            names += (name,)
        count = len(points)
    elif isinstance(points, int) and not isinstance(points, bool):
        count = points
    else:
        raise InputError(f"{where}: points must be their number or a list of their names, not {shown(points)}")
    if not 1 <= count <= MOST_POINTS:
        raise InputError(f"{where}: {shown(count)} points; a markup may have 1 to {MOST_POINTS}")
    return names, count


class _Points:
    """Reads the fields that name points of one markup."""

    def __init__(self, names: tuple[str, ...], count: int, where: str) -> None:
        self.numbers, self.count, self.where = {name: k for k, name in enumerate(names)}, count, where

    def point(self, value: object, field: str) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < self.count:
            return value
        if isinstance(value, str) and value in self.numbers:
            return self.numbers[value]
        wrong = f"there is no point {shown(value)}; points are 0 to {self.count - 1}"
        if isinstance(value, str):
            near = difflib.get_close_matches(value[:LONGEST], self.numbers, 1)
            wrong = f"there is no point named {shown(value)}" + (f"; is {near[0]!r} meant?" if near else "")
        raise InputError(f"{self.where}: {field}: {wrong}")

    def rows(self, value: object, field: str, least: int = 1) -> tuple[tuple[int, ...], ...]:
        rows = [row if isinstance(row, (list, tuple)) else [row] for row in self._list(value, field)]
        if sum(map(len, rows)) > MOST_NUMBERS:
            raise InputError(f"{self.where}: {field} holds more than {MOST_NUMBERS} numbers")
        for k, row in enumerate(rows):
            if len(row) < least:
                raise InputError(f"{self.where}: {field}[{k}] needs {least} points at least, not {shown(row)}")
        return tuple(tuple(self.point(v, f"{field}[{k}]") for v in row) for k, row in enumerate(rows))

    def pairs(self, value: object, field: str) -> tuple[tuple[int, int], ...]:
        pairs = [self.pair(pair, f"{field}[{k}]") for k, pair in enumerate(self._list(value, field))]
        return tuple(pair for pair in pairs if pair is not None)

    def pair(self, value: object, field: str) -> tuple[int, int] | None:
        if value is None and not field.endswith("]"):
            return None
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise InputError(f"{self.where}: {field} must be two points, not {shown(value)}")
        a, b = (self.point(v, field) for v in value)
        if a == b:
            raise InputError(f"{self.where}: {field} must be two different points, not {shown(value)}")
        return a, b

    def _list(self, value: object, field: str) -> list[object]:
        if value is None:
            return []
        if not isinstance(value, (list, tuple)) or len(value) > MOST_NUMBERS:
            raise InputError(f"{self.where}: {field} must be a list, not {shown(value)}")
        return list(value)


def _means(value: object, known: Mapping[str, Markup], where: str) -> tuple[str, tuple[tuple[int, ...], ...]]:
    """``{of: 2d68, groups: [[36], [39], …]}``: for each point the points of the other markup whose mean it is."""
    of = value.get("of") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or set(value) != {"of", "groups"} or not isinstance(of, str):
        raise InputError(f"{where}: means must be {{of: a markup, groups: its points for each point}}")
    if of not in known:
        raise InputError(f"{where}: means: unknown markup {shown(of)}; known: {', '.join(known)}")
    other = known[of]
    return of, _Points(other.names, other.points, where).rows(value["groups"], f"means: groups of {of}", least=0)
