"""`detector="own"` as users meet it: the package's weights, the command line, forked children, memory."""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acdc_fast.commands.cli import main
from acdc_fast.detector import pyramid
from acdc_fast.detector.weights import load_detector
from acdc_fast.photo.detection import Search, detect, overlap

PHOTO = Path(__file__).parents[2] / "examples" / "astronaut.jpg"


def photo() -> np.ndarray:
    return np.asarray(Image.open(PHOTO).convert("RGB"))


def own(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return detect(rgb, Search(detector="own"))


def test_the_package_has_weights() -> None:
    _, card = load_detector(pyramid.WEIGHTS)
    assert card["kind"] == "acdc-fast detector"


def test_the_photo_of_the_package() -> None:
    boxes, scores = own(photo())
    library, _ = detect(photo(), Search(detector="library"))
    best = int(scores.argmax())
    assert overlap(boxes[best], library[0]) > 0.6


def test_nothing_in_pictures_of_one_colour() -> None:
    for value in (0, 128, 255):
        boxes, scores = own(np.full((300, 400, 3), value, np.uint8))
        assert boxes.shape == (0, 4) and scores.shape == (0,)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = {}
    for detector in ("own", "library"):
        out = tmp_path / f"{detector}.json"
        assert main(["align", str(PHOTO), "--detector", detector, "--weights", "acdc-w16-fast", "-o", str(out)]) == 0
        boxes[detector] = np.array(json.loads(out.read_text())["images"][0]["faces"][0]["box"])
    np.testing.assert_allclose(boxes["own"], own(photo())[0][0], atol=0.01)
    assert (boxes["own"] != boxes["library"]).any()
    with pytest.raises(SystemExit):
        main(["align", str(PHOTO), "--detector", "owl"])
    assert "'own'" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(multiprocessing, "get_context") or sys.platform == "win32", reason="no fork here")
def test_in_a_forked_child() -> None:
    before = own(photo())[0]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply_async(own, (photo(),)).get(60)[0], before)


def test_no_leak() -> None:
    """A leak of one picture of 1 MB a call would show as 40 MB."""
    rgb = np.random.default_rng(0).integers(0, 256, (600, 600, 3)).astype(np.uint8)
    for _ in range(5):
        own(rgb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(40):
        own(rgb)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 10_000, f"{grown} KB"
