"""Drawn faces and the settings of a small training."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.faces import SETTINGS, write_faces

from acdc_fast.training.settings import Settings, read_settings


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_faces(tmp_path_factory.mktemp("faces"))
    (folder / "small.yaml").write_text(SETTINGS)
    return folder


@pytest.fixture
def small(root: Path) -> Settings:
    return read_settings(root / "small.yaml")
