"""Equality, hash and indexing for dataclasses of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np


class ByValue:
    """Equal where all arrays are equal, numpy's or torch's. The base of what holds arrays."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(a, b) for a, b in zip(_compared(self), _compared(other), strict=True))

    def __hash__(self) -> int:
        """Of the first values of the first array. Do not change the arrays of what is in a set or a key."""
        return hash((type(self), _first(_compared(self))))


def _compared(value: Any) -> list[Any]:
    return [getattr(value, f.name) for f in fields(value) if f.compare]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if hasattr(a, "shape") or hasattr(b, "shape"):
        return type(a) is type(b) and a.shape == b.shape and bool((a == b).all())
    return bool(a == b)


def _first(parts: list[Any]) -> tuple[Any, ...]:
    """Shape and first values of the first array among the parts and in their dictionaries."""
    for part in parts:
        for array in part.values() if isinstance(part, dict) else [part]:
            if hasattr(array, "shape"):
                return (tuple(array.shape), *array.ravel()[:8].tolist())
    return ()


def index_of(index: Any, count: int) -> slice | np.ndarray:
    """What indexes the first axis of ``count`` and keeps it an axis."""
    if isinstance(index, slice):
        return index
    if isinstance(index, tuple) or index is None or index is Ellipsis:
        raise IndexError(f"faces have one axis: a number, a slice, or a list of numbers or truth values, not {index!r}")
    array = np.asarray(index)
    if array.size == 0 and array.dtype.kind == "f":  # an empty list
        array = array.astype(np.intp)
    if array.ndim > 1 or array.dtype.kind not in "iub" or (array.dtype.kind == "b" and array.shape != (count,)):
        kind = f"{array.dtype} of shape {array.shape}"
        raise IndexError(f"{count} faces are indexed by whole numbers, or by {count} truth values, not by {kind}")
    if array.dtype.kind == "b":
        return np.flatnonzero(array)
    array = np.atleast_1d(array.astype(np.intp))
    for i in array.tolist():
        if not -count <= i < count:
            raise IndexError(f"face {i} asked for, but there are {count}")
    return array


def taken(value: Any, index: slice | np.ndarray) -> Any:
    """The same with these faces alone: of an array, a dictionary of arrays, or a dataclass of either."""
    if isinstance(value, dict):
        return {name: each[index] for name, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{f.name: taken(getattr(value, f.name), index) for f in fields(value)})
    return value[index] if isinstance(value, np.ndarray) else value


def joined(parts: Sequence[Any]) -> Any:
    """Parts with the same fields as one, along the first axis; of values that are no arrays the first."""
    first = parts[0]
    if isinstance(first, dict):
        return {name: joined([part[name] for part in parts]) for name in first}
    if is_dataclass(first) and not isinstance(first, type):
        return replace(first, **{f.name: joined([getattr(part, f.name) for part in parts]) for f in fields(first)})
    return np.concatenate(parts) if isinstance(first, np.ndarray) else first
