"""A recipe as one frozen object, read strictly. What it names is looked at before its first step: the steps take days,
and a fault would come late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from acdc_fast.errors import InputError, shown
from acdc_fast.weights import bundled

from .data import REGISTRY
from .fits.interpolate import check_share
from .settings import read_settings
from .strict_yaml import read_yaml

DEVICES = ("auto", "cpu", "cuda")
DRAWN = ("synthetic", "skinned", "expressive", "reposed")
#: Longest chain of recipes.
DEPTH = 8


@dataclass(frozen=True)
class Drawn:
    """A tar of faces that `training.synthesis` draws."""

    source: str  # synthetic, skinned, reposed
    split: str
    faces: int


@dataclass(frozen=True)
class Teacher:
    """Trained weights that label a database's faces (`teach`)."""

    database: str
    split: str = "train"
    weights: str | None = None  # a file or a name in the package; None: those that the ``first`` recipe made


@dataclass(frozen=True)
class Fits:
    """Databases for the fits after the runs. The defaults are those of all weights in the package.

    The refinement of the landmarks comes before them, on the databases of the last run or of other ``settings``. Then
    follow people's points, pose, confidence, faces on their side, presence, visibility and early exit.
    """

    people: bool = True  # people's points, confidence, sight and faces on their side, by AFLW photographs; else none
    pose: tuple[str, ...] = ("synthetic/train", "skinned/train", "reposed/train", "frames68/train")
    presence: tuple[str, ...] = ("mtfl/train[:500]",)
    enough: tuple[str, ...] = ("mtfl/train[:500]", "frames68")
    limit: int | None = 1500  # faces of each database for the pose; None: all
    pose_ridge: float | None = None  # of `evaluate`; None: its default
    refinement: int | None = 4000  # faces of each database for the refinement; None: no refinement
    settings: str | None = None  # the file with the refinement's databases; None: the last run's


@dataclass(frozen=True)
class Recipe:
    name: str  # of the weights file: NAME.safetensors
    runs: tuple[str, ...]  # settings files, relative to the recipe
    draw: tuple[Drawn, ...] = ()
    fits: Fits = field(default_factory=Fits)
    start: str | None = None  # weights that the first run starts from: a file or a name in the package
    first: str | None = None  # a recipe beside this one that runs before it; the first run starts from its last weights
    share: float | None = None  # of the last run's weights; the rest is from those it started from (`interpolate`)
    processes: int = 1
    device: str = "auto"  # for the runs, as in `train --device`
    teach: tuple[Teacher, ...] = ()

    def __post_init__(self) -> None:
        if self.share is not None:
            check_share(self.share)


def read_recipe(path: Path) -> Recipe:
    """Raises `InputError` with the file, the field and what is wrong with it."""
    recipe = read_yaml(Recipe, path)
    if recipe.start and recipe.first:
        raise InputError(f"{path}: give start or first, not both")
    if not recipe.first and any(teacher.weights is None for teacher in recipe.teach):
        raise InputError(f"{path}: a teacher without weights needs a first recipe that makes them, and none is named")
    if recipe.share and len(recipe.runs) < 2 and not (recipe.start or recipe.first):
        raise InputError(f"{path}: share mixes two runs' weights, but there is one run and no start")
    return recipe


def checked_recipe(path: Path, above: tuple[Path, ...] = ()) -> Recipe:
    """The recipe, after a look at it, at those that run before it and at the settings of all runs. ``above``: the
    recipes that name it as their ``first``. Raises `InputError`, which names the field, for what no step could use."""
    if path.resolve() in above or len(above) >= DEPTH:
        raise InputError(f"{path}: first: the recipes form a circle, or a chain of more than {DEPTH}")
    recipe = read_recipe(path)
    for wrong in _faults(recipe):
        raise InputError(f"{path}: {wrong}")
    for settings in filter(None, (*recipe.runs, recipe.fits.settings)):
        read_settings(path.parent / settings)
    if recipe.first:
        checked_recipe(path.parent / recipe.first, (*above, path.resolve()))
    return recipe


def _faults(recipe: Recipe) -> Iterator[str]:
    if not recipe.runs:
        yield "runs must name at least one"
    if not recipe.name or not recipe.name.isprintable() or Path(recipe.name).name != recipe.name:
        yield f"name must be that of a file, without a folder, not {shown(recipe.name)}"
    stems = [Path(run).stem for run in recipe.runs]
    if twice := [stem for stem in stems if stems.count(stem) > 1]:
        yield f"runs: two have the name {shown(twice[0])}, and so one folder"
    if recipe.device not in DEVICES:
        yield f"device must be one of {', '.join(DEVICES)}, not {shown(recipe.device)}"
    fits = recipe.fits
    counts = {"processes": recipe.processes, "fits.limit": fits.limit, "fits.refinement": fits.refinement}
    counts |= {f"draw[{i}].faces": drawn.faces for i, drawn in enumerate(recipe.draw)}
    for name, count in counts.items():
        if count is not None and count < 1:
            yield f"{name} must be at least 1, not {count}"
    if fits.pose_ridge is not None and fits.pose_ridge <= 0:
        yield f"fits.pose_ridge must be above 0, not {fits.pose_ridge:g}"
    for i, drawn in enumerate(recipe.draw):
        if drawn.source not in DRAWN or drawn.split not in REGISTRY[drawn.source][2]:
            yield f"draw[{i}]: nobody draws {shown(f'{drawn.source}/{drawn.split}')}; sources: {', '.join(DRAWN)}"
    named = {f"teach[{i}].database": teacher.database for i, teacher in enumerate(recipe.teach)}
    for kind in ("pose", "presence", "enough"):
        databases = getattr(fits, kind)
        if not databases:
            yield f"fits.{kind} must name at least one database"
        named |= {f"fits.{kind}[{i}]": name for i, name in enumerate(databases)}
    for place, name in named.items():
        if name.partition("/")[0] not in REGISTRY:
            yield f"{place}: unknown database {shown(name)}; known: {', '.join(REGISTRY)}"
    weights = {"start": recipe.start} | {f"teach[{i}].weights": t.weights for i, t in enumerate(recipe.teach)}
    for place, given in weights.items():
        if given and given not in bundled() and not Path(given).is_file():
            yield f"{place}: {shown(given)}: there is no such weights file; in the package: {', '.join(bundled())}"
