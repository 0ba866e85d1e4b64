"""Doors open in one direction: which room may import which. House rule, held by reading every import."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Rooms that a module may import from, by folder or module.
FACE = {"types", "geometry", "errors", "files", "checks", "config", "weights", "images"}
FITTED = {"head_pose", "refinement"}  # to what a network says of faces, afterwards
ALLOWED: dict[str, set[str]] = {
    "by_value": set(),
    "types": {"by_value"},
    "geometry": set(),
    "errors": set(),
    "files": set(),
    "config": {"errors"},
    "checks": {"errors"},
    "weights": {"config", "errors", "files", "head_pose", "refinement"},
    "shape": set(),
    "head_pose": {"shape"},
    "refinement": {"shape"},
    "images": {"errors"},
    "crops": {"geometry", "images"},
    "confidence": {"types"},
    "predictions": {"types"},
    "orientation": {"geometry", "confidence", "types"},
    "detection": {"errors"},
    "results": {"types"},
    "network": {"ops", "config", "checks", "errors", "types"},
    "ops": {"ops", "kernels", "types", "errors", "config", "_native"},
    "kernels": {"kernels", "ops.allocate", "types", "errors"},
    "engines": {"engines", "network", "ops", "kernels", "_native", "config", "checks", "errors", "types", "weights"},
    "export": {"network", "config", "weights", "files", "errors"},
    "model": {
        "engines", "export", "network", "crops", "detection", "confidence", "orientation", "predictions", *FITTED, *FACE
    },
    "tracking": {"model", "detection", *FACE},
    "draw": FACE,
    "video": {"model", "tracking", "draw", "results", *FACE},
    "batch": {"model", "", *FACE},
    "compare": {"model", "engines", *FACE},
    "env": {"_native", "weights", ""},
    "cli": {"model", "video", "batch", "compare", "draw", "env", "results", "training", "", *FACE},
    "training": {"training", "network", "ops", "crops", "detection", "confidence", "shape", *FITTED, "_native", *FACE},
    # Evaluation and teachers go the user's way; the rest of the room never meets an engine.
    "training.observations": {"training", "model", "network", *FITTED, *FACE},
    "training.teach": {"training", "model", "shape", *FITTED, *FACE},
    "training.evaluate": {"training", "model", "network", *FACE},
}


def sources() -> list[tuple[str, Path]]:
    """(dotted name below acdc_fast, file) of every module that is installed."""
    found = []
    for folder, prefix in (("acdc_fast", ""), ("kernels", "kernels."), ("training", "training.")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = prefix + ".".join(path.relative_to(ROOT / folder).with_suffix("").parts)
            found.append((name, path))
    return found


def imported(name: str, text: str) -> list[tuple[int, str]]:
    """(line, dotted name below acdc_fast) of every import of ours in a module of this name, wherever it stands."""
    package = ["acdc_fast", *name.split(".")][:-1]
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import ops` names a room, `from .ops import f` does not: keep both readings of the former.
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "acdc_fast" else [module]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module" and node.args:
            value = node.args[0]
            names = [value.value] if isinstance(value, ast.Constant) and isinstance(value.value, str) else []
        else:
            continue
        found += [(node.lineno, n) for n in names if n == "acdc_fast" or n.startswith("acdc_fast.")]
    return [(line, n.removeprefix("acdc_fast").removeprefix(".")) for line, n in found]


def room(name: str) -> str:
    first = name.split(".")[0]
    return "" if (first.startswith("__") and first != "__main__") or (first and first[0].isupper()) else first


@pytest.mark.parametrize(("name", "path"), sources(), ids=[name for name, _ in sources()])
def test_only_open_doors(name: str, path: Path) -> None:
    mine = room(name)
    if mine == "":
        return  # acdc_fast/__init__.py hands out the names of the contract, lazily
    assert mine in ALLOWED, f"{path}: a new room; say in this test which rooms it may enter"
    doors = ALLOWED.get(name, ALLOWED[mine])
    for line, target in imported(name, path.read_text(encoding="utf-8")):
        assert {room(target), target} & doors, f"{path}:{line}: {mine} may not import {target or 'acdc_fast'}"


def test_kernels_and_csrc_know_no_package() -> None:
    for path in sorted((ROOT / "csrc").rglob("*.py")):
        assert "acdc_fast" not in path.read_text(encoding="utf-8"), path


def test_nothing_imports_tests_or_bench() -> None:
    for _, path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = getattr(node, "module", "") or ""
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [module]
            assert not {"tests", "bench", "conftest"} & {n.split(".")[0] for n in names}, path


def test_the_reader_of_imports_reads_every_form() -> None:
    text = "\n".join([
        "from . import ops", "from ..model import Model", "import acdc_fast.engines.native",
        "from acdc_fast import draw", "import importlib",
        "def f():\n    from .reference import x", "importlib.import_module('acdc_fast.commands.env')",
    ])  # fmt: skip
    seen = {target for _, target in imported("ops.spatial", text)}
    assert seen == {"ops", "model", "engines.native", "draw", "ops.reference", "env"}
    assert room("engines.native") == "engines" and room("__version__") == room("Model") == ""


def test_a_closed_door_is_noticed() -> None:
    assert "engines" not in ALLOWED["training"] and "model" not in ALLOWED["engines"]
    assert ALLOWED["types"] == {"by_value"} and not ALLOWED["by_value"]
    assert "model" not in ALLOWED["network"] and "training" not in ALLOWED["model"]
