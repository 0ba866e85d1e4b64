"""Which room may import which, in one direction only. The tests read every import."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Floors of the house, the lowest first. A room may enter the rooms on the floors below it, and itself; what it may
#: enter beyond that, or not enter although it lies below, stands in BESIDES and CLOSED.
FLOORS: list[set[str]] = [
    {"errors"},
    {"command_parser", "ends", "files", "forks", "by_value", "markups", "stopping", "threads", "_native"},
    {"types", "bundled", "markup_tables", "locks", "native_library"},
    {"config", "checks", "detector"},
    {"network_arrays"},
    {"photo", "readout", "metadata"},
    {"fitted_arrays"},
    {"weights", "options", "kernels"},
    {"ops"},
    {"network"},
    {"engines"},
    {"export", "alignment", "arrays_or_tensors"},
    {"model"},
    {"video", "batch"},
    {"training"},
    {"commands"},
]
#: Doors on one floor, each with its reason.
BESIDES: dict[str, set[str]] = {
    "kernels": {"ops.allocate"},  # results come from one place, so that tests can poison them
    "readout": {"photo.coordinates"},  # turned crops and poses
    "photo": {"readout.head_shape"},  # the triangles of a drawn mesh
}
#: Rooms that may not be entered from above.
CLOSED: dict[str, set[str]] = {
    "training": {"engines", "model", "video", "batch", "export"},  # it trains the network itself
    "kernels": {"photo", "readout", "weights", "_native"},
    "ops": {"photo", "readout", "weights"},
    "network": {"photo", "readout", "weights", "kernels", "_native"},
    "model": {"ops", "kernels", "_native"},
    "video": {"engines", "ops", "kernels", "network", "_native"},
    "batch": {"engines", "ops", "kernels", "network", "_native"},
    "commands": {"ops", "kernels", "network"},
}
#: What goes the user's way, or asks what a bug report needs.
EXCEPTIONS: dict[str, set[str]] = {
    "model": {"video"},  # `Model.track` hands itself to the tracker
    "training.observations": {"model"},
    "training.teach": {"model"},
    "training.evaluation.evaluate": {"model"},
    "training.fits.blendshapes_fit": {"model"},
    "training.fits.confidence_fit": {"model"},
    "training.fits.orientation_fit": {"model"},
    "training.fits.presence_fit": {"model"},
    "training.fits.visibility_faces": {"model"},
    "training.fits.visibility_fit": {"model"},
    "commands.env": {"ops"},
}
#: The same for the rooms of training, without exceptions.
TRAINING: list[set[str]] = [
    {"metrics", "command_errors", "schedule", "distributed", "strict_yaml", "limits"},
    {"settings"},
    {"data"},
    {"synthesis"},
    {"sampling"},
    {"loop"},
    {"observations", "finding"},
    {"fits", "teach"},
    {"evaluation"},
    {"recipe_settings"},
    {"recipe"},
]


def sources() -> list[tuple[str, Path]]:
    """(dotted name below acdc_fast, file) of every module that is installed."""
    found = []
    for folder, prefix in (("acdc_fast", ""), ("kernels", "kernels."), ("training", "training.")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = prefix + ".".join(path.relative_to(ROOT / folder).with_suffix("").parts)
            found.append((name, path))
    return found


#: Every module and room, as dotted names.
MODULES = {"acdc_fast." + name.removesuffix(".__init__") for name, _ in sources()}


def imported(name: str, text: str) -> list[tuple[int, str]]:
    """(line, dotted name below acdc_fast) of every import of the package in a module of this name."""
    package = ["acdc_fast", *name.split(".")][:-1]
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import ops` names a room, `from .ops import f` does not: keep both readings of the former.
            whole = [f"{module}.{alias.name}" for alias in node.names]
            names = whole if module == "acdc_fast" else [n if n in MODULES else module for n in whole]
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


def floor(of: str, floors: list[set[str]]) -> int:
    for number, rooms in enumerate(floors):
        if of in rooms:
            return number
    raise AssertionError(f"{of}: a new room; say in tests/test_doors.py on which floor it lies")


def may_enter(name: str, target: str) -> bool:
    """Whether the module may import the target, both dotted names below acdc_fast."""
    mine, its = room(name), room(target)
    if its == "" or mine == its != "training":
        return True
    if target in BESIDES.get(mine, set()) or its in EXCEPTIONS.get(name, set()):
        return True
    if its in CLOSED.get(mine, set()):
        return False
    if mine == its:
        inner, its_inner = name.split(".")[1], (target.split(".") + [""])[1]
        return its_inner in ("", inner) or floor(its_inner, TRAINING) < floor(inner, TRAINING)
    return floor(its, FLOORS) < floor(mine, FLOORS)


@pytest.mark.parametrize(("name", "path"), sources(), ids=[name for name, _ in sources()])
def test_only_open_doors(name: str, path: Path) -> None:
    if room(name) == "":
        return  # acdc_fast/__init__.py hands out the names of the contract, lazily
    for line, target in imported(name, path.read_text(encoding="utf-8")):
        assert may_enter(name, target), f"{path}:{line}: {name} may not import {target or 'acdc_fast'}"


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Every circle of imports."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> None:
        if name in path:
            found.append(path[path.index(name) :] + [name])
        elif name not in done:
            for target in sorted(graph.get(name, ())):
                walk(target, [*path, name])
            done.add(name)

    for name in sorted(graph):
        walk(name, [])
    return found


def test_no_circle_of_modules() -> None:
    modules = {name.removesuffix(".__init__"): path for name, path in sources()}
    graph = {name: set[str]() for name in modules}
    for name, path in sources():
        mine = name.removesuffix(".__init__")
        for _, target in imported(name, path.read_text(encoding="utf-8")):
            if target in modules and target != mine:
                graph[mine].add(target)
    assert not circles(graph)
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == [["a", "b", "c", "a"]]


def test_native_and_cuda_sources_know_no_python() -> None:
    """Kernels in C++ know neither the package's modules nor Python. The bindings do."""
    files = [p for p in sorted((ROOT / "csrc").rglob("*")) if p.suffix in (".cpp", ".h", ".cu", ".cuh")]
    assert len(files) > 60
    for path in files:
        text = path.read_text(encoding="utf-8")
        bindings = path.parent.name == "bindings" or path.name in ("bindings.cpp", "rasterize.cpp")
        assert bindings or "pybind11" not in text, path


def test_rooms_of_the_cpu_library() -> None:
    """simd < dispatch tables < ops and engine < bindings: by the headers that each file includes."""
    folder = ROOT / "csrc" / "cpu"
    home = {p.name: p.parent.name for p in folder.rglob("*.h")}
    closed = {"simd": {"ops", "engine", "bindings", "dispatch"}, "ops": {"engine", "bindings"}, "engine": {"bindings"}}
    for path in sorted(folder.rglob("*.*")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith('#include "'):
                its = home[line.split('"')[1].split("/")[-1]]
                assert its not in closed.get(path.parent.name, set()), f"{path} may not include {line}"


def roots(path: Path) -> set[str]:
    """First parts of the names that a file imports; `from . import bench` names no folder beside the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).split(".")[0])
    return found


def test_nothing_imports_tests_or_bench() -> None:
    for _, path in sources():
        assert not {"tests", "bench", "conftest"} & roots(path), path


def test_scripts_import_what_is_installed() -> None:
    """``training`` and ``kernels`` are installed inside the package, so no script may ask for them alone."""
    scripts = [path for folder in ("bench", "docs", "examples", "wheels") for path in (ROOT / folder).rglob("*.py")]
    assert len(scripts) > 30
    for path in scripts:
        assert not {"training", "kernels"} & roots(path), f"{path}: they are acdc_fast.training, acdc_fast.kernels"


def test_the_reader_of_imports_reads_every_form() -> None:
    text = "\n".join([
        "from . import ops", "from ..model import Model", "import acdc_fast.engines.native",
        "from acdc_fast import draw", "import importlib",
        "def f():\n    from .reference import x", "importlib.import_module('acdc_fast.commands.env')",
    ])  # fmt: skip
    seen = {target for _, target in imported("ops.spatial", text)}
    assert seen == {"ops", "model", "engines.native", "draw", "ops.reference", "commands.env"}
    assert room("engines.native") == "engines" and room("__version__") == room("Model") == ""


def test_a_closed_door_is_noticed() -> None:
    assert not may_enter("training.loop.run", "engines.native") and not may_enter("engines.native", "model")
    assert not may_enter("types", "config") and not may_enter("network", "model") and not may_enter("model", "training")
    assert not may_enter("training.sampling.batches", "training.loop.run") and may_enter("training.loop.run", "network")
    with pytest.raises(AssertionError, match="a new room"):
        may_enter("attic", "types")
