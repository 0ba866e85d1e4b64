"""Every dependency has a reason and a licence in docs/dependencies.md; lock files hold all that the tests install."""

from __future__ import annotations

import re
import sys

import pytest
from helpers.paths import LOCKS, ROOT

if sys.version_info < (3, 11):
    pytest.skip("reads pyproject.toml with tomllib, which Python 3.11 brought", allow_module_level=True)
import tomllib

PAGE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
LICENCES = PAGE.split("\n## Licences")[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
#: What `make test` installs: the extras of the Makefile.
TESTED = re.search(r"-e '\.\[([a-z,-]+)\]'", (ROOT / "Makefile").read_text(encoding="utf-8"))
LOCK_FILES = sorted(LOCKS.glob("*.txt"))


def plain(requirement: str) -> str:
    """``Pillow>=10; python_version …`` → ``pillow``."""
    return re.split(r"[\[<>=;!~ ]", requirement)[0].lower().replace("_", "-")


def rows(text: str) -> dict[str, str]:
    """First and last column of tables with a licence."""
    return {cells[0].strip(): cells[-1].strip() for line in text.splitlines() if line.startswith("| ")
            for cells in [line.strip("| ").split(" | ")]}  # fmt: skip


def test_every_dependency_has_a_licence() -> None:
    named = rows(LICENCES)
    wanted = {plain(r) for group in EXTRAS.values() for r in group}
    wanted |= {plain(r) for r in [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]}
    assert {name: named.get(name) for name in wanted if not named.get(name)} == {}


def test_every_plain_dependency_and_extra_has_a_reason() -> None:
    reasons = rows(PAGE.split("\n## ")[0])
    for requirement in PROJECT["project"]["dependencies"]:
        assert re.split("[<>=]", requirement)[0] in reasons
    told = " ".join(reasons)
    assert [extra for extra in EXTRAS if f"`{extra}`" not in told] == []


def test_wheels_are_tried_with_the_plain_dependencies() -> None:
    needs = re.search(r"^NEEDS = \((.*)\)", (ROOT / "wheels" / "build.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert needs and re.findall(r'"(\w+)"', needs[1]) == [
        re.split("[<>=]", requirement)[0] for requirement in PROJECT["project"]["dependencies"]
    ]


def test_there_is_a_lock() -> None:
    assert LOCK_FILES


@pytest.mark.parametrize("path", LOCK_FILES, ids=lambda p: p.stem)
def test_a_lock_holds_all_that_the_tests_install(path: object) -> None:
    from packaging.requirements import Requirement

    assert TESTED
    text = path.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert "://" not in text and "index-url" not in text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    versions = dict(line.split(" ")[0].split("==") for line in lines)
    for requirement in [r for extra in TESTED[1].split(",") for r in EXTRAS[extra]] + PROJECT["project"][
        "dependencies"
    ]:
        wanted = Requirement(requirement)
        if plain(requirement) != "torch":
            assert versions[plain(requirement)] in wanted.specifier, requirement
    listed = LICENCES.replace(",", " ").split()
    assert [name for name in versions if name not in listed] == []
