"""Dataclasses from YAML files, read strictly: errors name the file and the field. A file may build on another.

`base: FILE` at the top of a file takes all values from that file (relative to this one). This file's values then
replace them: a mapping key by key, everything else (also a list) as a whole.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from acdc_fast.errors import InputError, shown

T = TypeVar("T")

#: Longest chain of base files.
DEPTH = 8
#: Largest file in bytes. Our longest settings have 3 KiB.
LARGEST = 1 << 20


def read_yaml(cls: type[T], path: Path) -> T:
    """A dataclass from a YAML file, as strict as `build`. Raises `InputError`."""
    return build(cls, read_values(path), str(path))


def read_values(path: Path) -> object:
    """What a YAML file and those that it builds on say. Raises `InputError`."""
    return _whole(path, ())


def _whole(path: Path, above: tuple[Path, ...]) -> object:
    """A file's values over those of its base. ``above``: the files that build on it."""
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: cannot be read: it is not a file")
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: is larger than the limit of {LARGEST >> 10} KiB")
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except InputError:  # a ValueError too
        raise
    except RecursionError as error:
        raise InputError(f"{path}: not YAML: nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bad UTF-8, an impossible date, thousands of digits
        raise InputError(f"{path}: not YAML: {error}") from error
    if not isinstance(values, Mapping) or "base" not in values:
        return values
    base = values["base"]
    if not isinstance(base, str):
        raise InputError(f"{path}: base must be the name of a file, not {shown(base)}")
    if path.resolve() in above or len(above) >= DEPTH:
        raise InputError(f"{path}: base: the files form a circle, or a chain of more than {DEPTH}")
    below = _whole(path.parent / base, (*above, path.resolve()))
    own = {name: value for name, value in values.items() if name != "base"}
    return _laid_over(below, own) if isinstance(below, Mapping) else own


def _laid_over(below: object, above: object) -> object:
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **{k: _laid_over(below.get(k), v) for k, v in above.items()}}
    return above


def build(cls: type[T], values: object, where: str) -> T:
    """A dataclass from plain values. Every field must be known, of its type, and present unless it has a default."""
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: fields expected ({', '.join(f.name for f in fields(cls))}), found {shown(values)}")  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise InputError(f"{where}: unknown field {shown(name)}; known: {', '.join(known)}")
    for name, f in known.items():
        if name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise InputError(f"{where}: field {shown(name)} is missing")
    found = {name: _convert(hints[name], value, f"{where}: {name}") for name, value in values.items()}
    try:
        return cls(**found)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def _convert(kind: Any, value: object, where: str) -> Any:
    """``value`` as the annotated type ``kind``."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return _convert(next(k for k in inner if k is not type(None)), value, where)
    if origin is typing.Literal:
        if value not in inner:
            raise InputError(f"{where} must be one of {', '.join(map(repr, inner))}, not {shown(value)}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{where} must be a list, not {shown(value)}")
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise InputError(f"{where} must have {len(inner)} entries, not {len(value)}")
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise InputError(f"{where} must be a mapping, not {shown(value)}")
        return {str(k): _convert(inner[1], v, f"{where}.{k}") for k, v in value.items()}
    if is_dataclass(kind):
        if isinstance(value, typing.cast("type[Any]", kind)):  # made before
            return value
        return build(typing.cast("type[Any]", kind), value, where)
    return _scalar(kind, value, where)


def _scalar(kind: type, value: object, where: str) -> object:
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)  # YAML 1.1 reads 5e-4 as text
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise InputError(f"{where} must be of type {kind.__name__}, not {shown(value)}")
