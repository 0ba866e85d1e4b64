"""The snippets of the guides run, in a folder with the files that the guides name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.paths import ROOT
from helpers.snippets import Snippet, furnish, run, snippets

PAGES = [p for p in sorted((ROOT / "docs").rglob("*.md")) if snippets(p)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_snippets_run(page: Path, tmp_path: Path) -> None:
    blocks = snippets(page)
    able = [b for b in blocks if not b.missing]
    if not able:
        pytest.skip(f"{page.name} needs {', '.join(sorted({n for b in blocks for n in b.missing}))}")
    furnish(tmp_path)
    done = run(able, tmp_path, {**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, f"{page.name}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_most_guides_have_snippets() -> None:
    """A changed mark would silently leave all of them out."""
    assert len([p for p in PAGES if p.parent.name == "guides"]) >= 10


def test_a_snippet_that_fails_is_seen(tmp_path: Path) -> None:
    furnish(tmp_path)
    for block in (Snippet("1 / 0", "python", ()), Snippet("acdc-fast align missing.jpg", "", ())):
        assert run([block], tmp_path, dict(os.environ)).returncode != 0
