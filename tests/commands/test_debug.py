"""`align --show` and `--debug`: pictures and files that explain a result."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import PHOTO
from PIL import Image

from acdc_fast.commands.cli import main

FAST = ["--weights", "acdc-w16-fast", "--threads", "1"]


@pytest.mark.parametrize("what", ["mesh", "attention"])
def test_show(tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "shown.png"
    assert main(["align", str(PHOTO), "-o", str(out), "--show", what, *FAST]) == 0
    size = Image.open(out).size
    assert size == ((512, 512) if what == "mesh" else (5 * 192, 192 + 20))  # the crop and four stages
    assert "1 face" in capsys.readouterr().out


def test_show_needs_a_picture(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["align", str(PHOTO), "--show", "mesh", *FAST]) == 2
    assert "-o" in capsys.readouterr().err


def test_debug(tmp_path: Path) -> None:
    turned = tmp_path / "turned.png"
    Image.open(PHOTO).convert("RGB").rotate(90, expand=True).save(turned)
    assert main(["align", str(PHOTO), str(turned), "--debug", str(tmp_path / "why"), "--json", *FAST]) == 0
    upright, side = tmp_path / "why" / "1-astronaut", tmp_path / "why" / "2-turned"
    for folder in (upright, side):
        assert {p.name for p in folder.iterdir()} == {
            "stages.json",
            "result.json",
            "log.txt",
            "crop-0.png",
            "attention.png",
        }
        said = json.loads((folder / "stages.json").read_text())["faces"][0]
        result = json.loads((folder / "result.json").read_text())["faces"][0]
        assert len(said["stages"]) == 4
        last, given = (np.array(p["landmarks"]["2d68"]) for p in (said["stages"][-1], result))
        box = result["box"]
        # Before the refinement, but of the crop that was used, upright or turned: in the mean a few hundredths away.
        assert np.linalg.norm(last - given, axis=1).mean() < 0.07 * (box[2] - box[0])
        assert Image.open(folder / "crop-0.png").size == (64, 64)
    assert (
        "no face found: looking again" in (side / "log.txt").read_text()
        or "turned by 90" in (side / "log.txt").read_text()
    )
    assert "acdc_fast.alignment" in (upright / "log.txt").read_text()
    assert logging.getLogger("acdc_fast").level == logging.NOTSET
