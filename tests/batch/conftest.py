"""A small model, and a folder of pictures of which one is broken and one no picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.paths import PHOTO
from PIL import Image

from acdc_fast import Model


@pytest.fixture(scope="module")
def model() -> Model:
    from helpers.small import small_weights  # torch makes the weights; the tests say where it is missing

    return Model(small_weights(stages=1), resolution=32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    (root / "a.jpg").write_bytes(PHOTO.read_bytes())
    Image.new("RGB", (40, 30)).save(root / "b.png")
    (root / "c.jpg").write_bytes(b"")
    (root / "notes.txt").write_text("not an image")
    (root / "sub" / "d.JPG").write_bytes(PHOTO.read_bytes())
    return root
