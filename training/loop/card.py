"""What a run says of itself at its end: ``card.md`` in its folder, for people."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from acdc_fast import __version__
from acdc_fast.files import written_beside
from acdc_fast.weights import load_weights

from ..settings import Settings
from .progress import read_history

VALIDATION = "validation/"


def validations(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """(updates, database/markup/stageN → NME in % or degrees) of each validation, in order."""
    found = []
    steps: dict[int, dict[str, float]] = {}
    for line in read_history(folder):
        values = {k.removeprefix(VALIDATION): v for k, v in line.items() if k.startswith(VALIDATION)}
        if values:
            steps.setdefault(line["step"], {}).update(values)
    for step in sorted(steps):
        found.append((step, steps[step]))
    return found


def write_card(
    folder: Path, made: Path, settings: Settings, sources: Sequence[Any], held_out: Sequence[Any], device: str
) -> Path:
    """From the weights file ``made`` and the history in ``folder``. Returns the card's path."""
    weights = load_weights(made)
    card = weights.card
    rows = [
        ("network", f"width {settings.network.width}, {settings.network.stages} stages, {settings.network.variant}"),
        ("markups", ", ".join(f"{m} ({n} points)" for m, n in settings.network.points.items())),
        ("started from", card.get("start", "random numbers")),
        ("updates", card["updates"]),
        ("crops", f"{card['resolution']}²"),
        ("licence", card.get("licence", "not stated: write card: {licence: …} into the settings")),
        ("data", card.get("data", "not stated")),
        ("made with", f"acdc_fast {__version__}, torch {torch.__version__}, {device}, {platform.machine()}"),
    ]
    text = ["# Weights", "", *_table(("what", "value"), rows), "", "## Faces", ""]
    used = [("training", s, d) for s, d in zip(settings.databases, sources, strict=True)]
    used += [("validation", s, d) for s, d in zip(settings.validation, held_out, strict=True)]
    faces = [(kind, f"{s.name}/{s.split}", str(len(d)), str(len(d.skipped))) for kind, s, d in used]
    text += [*_table(("use", "database", "faces", "left out as broken"), faces), ""]
    text += _errors(validations(folder), int(card["updates"]), settings)
    for markup in settings.markups:
        if markup.names:
            text += [f"## Points of {markup.name}", "", *(f"{k}. {name}" for k, name in enumerate(markup.names)), ""]
    path = folder / "card.md"
    with written_beside(path) as beside:
        beside.write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")
    return path


def _errors(found: Sequence[tuple[int, Mapping[str, float]]], best: int, settings: Settings) -> list[str]:
    """The table of the first validation, that of the weights, and the last one."""
    last = f"/stage{settings.network.stages}"
    known = dict(found)
    if best not in known:
        return []
    heads = list(dict.fromkeys([found[0][0], best, found[-1][0]]))
    names = [name for name in known[best] if name.endswith(last)]
    rows = [
        (name.removesuffix(last), *(f"{known[s][name]:.2f}" if name in known[s] else "" for s in heads))
        for name in names
    ]
    told = "Mean error of the validation's faces: points in % of the normaliser, pose in degrees."
    columns = [f"after {s} updates" + (" (these weights)" if s == best else "") for s in heads]
    return ["## Errors", "", told, "", *_table(["database and markup", *columns], rows), ""]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |" for line in lines]
