"""Version and pinned tools stand in several files. These tests compare them."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from helpers.paths import ROOT

import acdc_fast

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_one_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == acdc_fast.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest and newest[1] == acdc_fast.__version__
    assert 'version = { attr = "acdc_fast.__version__" }' in PROJECT


def test_pre_commit_has_the_pinned_tools() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    pins = [pin for hook in hooks for pin in hook.get("additional_dependencies", [])]
    assert pins and all(f'"{pin}"' in PROJECT for pin in pins)


def test_ci_runs_what_is_claimed() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    matrix = jobs["test"]["strategy"]["matrix"]
    claimed = re.findall(r"Programming Language :: Python :: (3\.\d+)", PROJECT)
    assert matrix["python"] == claimed == ["3.10", "3.11", "3.12", "3.13"]
    assert any("arm" in name for name in matrix["os"]) and any("arm" not in name for name in matrix["os"])
    assert jobs["test"]["steps"][-1]["run"] == ".ci/run"


def test_no_two_test_files_share_a_name() -> None:
    """Test folders are no packages: pytest collects only one of two files of the same name, and counts an error."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
