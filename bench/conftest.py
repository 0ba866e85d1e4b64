"""`pytest bench/ --benchmark` runs the benchmarks. Without the flag they are skipped, so that no test run waits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--benchmark", action="store_true", help="run the benchmarks of bench/")
    parser.addoption("--bench-out", default="runs/bench", help="folder for tables and plots")
    parser.addoption("--bench-without", default="", help="contestants to leave out: parts of names, comma between")
    parser.addoption("--data-root", default="", help="folder of the databases, for benchmarks with real faces")
    parser.addoption("--frontier", nargs="*", default=[], help="outputs of 'acdc-fast evaluate --json'")
    parser.addoption("--bench-rounds", type=int, default=0, help="interleaved rounds (0: chosen by width and batch)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--benchmark"):
        return
    for item in items:
        if Path(__file__).parent in Path(item.fspath).parents:
            item.add_marker(pytest.mark.skip(reason="a benchmark: --benchmark runs it"))


@pytest.fixture(scope="session")
def out(request: pytest.FixtureRequest) -> Path:
    """Folder for tables and plots."""
    folder = Path(request.config.getoption("--bench-out"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
