"""What a weights file says beside its arrays, read strictly: each entry has its type and its bounds, or is refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from . import markup_tables
from .config import ACDCConfig
from .errors import InputError, shown
from .markup_tables import own_markups, table_of
from .markups import Markup

#: Longest text of one entry; the settings of a run, the longest there are, have some thousands of characters.
LONGEST = 1 << 20
#: Largest crop that a card may ask for.
LARGEST = 4096
#: Numbers of the calibration are exponents and logarithms.
MOST = 1e3

Calibration = dict[str, tuple[float, ...]]


def write_tables(config: ACDCConfig) -> dict[str, str]:
    """The entry with the tables of the network's markups that the package lacks; nothing where it lacks none."""
    own = own_markups(config.markups)
    return {"tables": json.dumps([table_of(markup) for markup in own])} if own else {}


def read_tables(metadata: Mapping[str, str], where: str) -> list[Markup]:
    """Markups that the file brings along."""
    tables = markup_tables.read_tables(_json(metadata, "tables", "[]", where), f"{where}: tables")
    means = [markup.means[0] for markup in tables if markup.means]
    of_network = _json(metadata, "config", "{}", where)
    named = of_network.get("markups") if isinstance(of_network, dict) else None
    for markup in tables:
        if markup.name not in (*(named if isinstance(named, list) else ()), *means):
            raise InputError(f"{where}: brings the table of {markup.name} along, which its network does not have")
    return tables


def read_config(metadata: Mapping[str, str], where: str) -> ACDCConfig:
    """The network. Raises `InputError` naming the file and the field."""
    values = _json(metadata, "config", "{}", where)
    try:
        return ACDCConfig.from_values(values)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: config: {error}") from error


def read_markups(metadata: Mapping[str, str], config: ACDCConfig, where: str) -> tuple[str, ...]:
    """Markups handed to users."""
    values = _json(metadata, "markups", "[]", where)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InputError(f"{where}: markups must be a list of names, not {shown(values)}")
    stray = [value for value in values if value not in config.markups]
    if stray:
        raise InputError(f"{where}: hands out markup {shown(stray[0])}, which its network does not have")
    return tuple(values)


def read_calibration(metadata: Mapping[str, str], config: ACDCConfig, where: str) -> Calibration:
    """Markup → the numbers of `readout.confidence`."""
    values = _json(metadata, "calibration", "{}", where)
    if not isinstance(values, dict):
        raise InputError(f"{where}: calibration must hold numbers for each markup, not {shown(values)}")
    calibration: Calibration = {}
    for markup, numbers in values.items():
        if markup not in config.markups:
            raise InputError(f"{where}: calibration of {shown(markup)}, which its network does not have")
        if not isinstance(numbers, list) or not all(_is_number(n) and abs(n) <= MOST for n in numbers):
            raise InputError(f"{where}: calibration of {markup} must be numbers up to {MOST:g}, not {shown(numbers)}")
        if len(numbers) == 2:  # of older files
            numbers = [numbers[0], 0.0, numbers[1]]
        if len(numbers) not in (3, 2 + config.points[markup]):
            raise InputError(f"{where}: {len(numbers)} numbers calibrate {markup}; calibrate it again")
        calibration[markup] = tuple(map(float, numbers))
    return calibration


def read_card(metadata: Mapping[str, str], where: str) -> dict[str, str]:
    """Facts for people, and three numbers that `Model` reads."""
    card = _json(metadata, "card", "{}", where)
    if not isinstance(card, dict):
        raise InputError(f"{where}: the card must hold texts by name, not {shown(card)}")
    for name, value in card.items():
        if not isinstance(value, str):
            raise InputError(f"{where}: card: {shown(name)} must be a text, not {shown(value)}")
    check_card(card, where)
    return card


def check_card(card: Mapping[str, str], where: str, unit: int = 8) -> None:
    """Raises `InputError` where one of the card's numbers cannot be. ``unit``: the config's ``crop_unit``."""
    resolution_of(card, where, unit)
    for name in ("enough", "narrowest_spread"):
        number_of(card, name, where)


def resolution_of(card: Mapping[str, Any], where: str, unit: int = 8) -> int:
    """Side of the crops trained on, about 128 where the card does not say. ``unit``: the config's ``crop_unit``."""
    text = card.get("resolution", str(128 // unit * unit))
    side = int(text) if isinstance(text, str) and re.fullmatch(r"[0-9]{2,4}", text) else 0
    return check_side(side, f"{where}: card: resolution", unit, text)


def check_side(side: int, name: str, unit: int, given: object) -> int:
    """A crop's side; raises `InputError`, which shows what was ``given``, where no network of this unit takes it."""
    if side % unit or not 4 * unit <= side <= LARGEST:
        wanted = f"a multiple of {unit} from {4 * unit} to {LARGEST}"
        raise InputError(f"{name} must be {wanted}, not {shown(given)}")
    return side


def number_of(card: Mapping[str, Any], name: str, where: str) -> float:
    """A positive number, or 0 where the card does not say."""
    text = card.get(name, "0")
    try:
        value = float(text) if isinstance(text, str) and len(text) < 40 else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value < 10 or (name in card and value == 0):  # crop units
        raise InputError(f"{where}: card: {name} must be a positive number of crop units, not {shown(text)}")
    return value


def _json(metadata: Mapping[str, str], name: str, default: str, where: str) -> Any:
    text = metadata.get(name, default)
    if len(text) > LONGEST:
        raise InputError(f"{where}: its metadata cannot be read: {name} has {len(text)} characters")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise InputError(f"{where}: its metadata cannot be read: {name} is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"{where}: its metadata cannot be read: {name}: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
