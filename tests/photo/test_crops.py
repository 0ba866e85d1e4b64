"""Crops are sampled at the right places, and are the same as training's."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from helpers.patience import PATIENCE

from acdc_fast.photo import coordinates as geometry
from acdc_fast.photo import crops
from acdc_fast.photo.crops import crop_faces

RNG = np.random.default_rng(3)


def ramp(height: int = 90, width: int = 120) -> np.ndarray:
    """Brightness x + y, so that a crop's values show where it was sampled."""
    return (np.arange(width) + np.arange(height)[:, None]).astype(np.uint8)


@pytest.mark.parametrize("side", [10.0, 32.0, 50.5, 64.0])
@pytest.mark.parametrize("angle", [0.0, 17.0, -120.0])
def test_samples_lie_where_geometry_says(side: float, angle: float) -> None:
    square = np.array([[60.25, 45.5, side, angle]])
    crop = crop_faces(ramp(), square, 32)[0, 0] * 255
    centres = (np.stack(np.meshgrid(np.arange(32), np.arange(32)), -1) + 0.5) / 32
    places = geometry.crop_to_image(centres.reshape(1, -1, 2), square)[0]
    # A linear picture is reproduced by linear interpolation and by averages: only float32 rounding of values ≤ 210.
    assert np.abs(crop.ravel() - places.sum(1)).max() < 1e-3


def test_whole_image_at_its_own_size_is_itself() -> None:
    image = RNG.integers(0, 256, (32, 32)).astype(np.uint8)
    crop = crop_faces(image, np.array([[15.5, 15.5, 32.0, 0.0]]), 32)
    assert np.abs(crop[0, 0] * 255 - image).max() < 1e-4


def test_shrinking_averages() -> None:
    """A fine checkerboard becomes grey, not a sample of black and white."""
    board = np.indices((256, 256)).sum(0) % 2 * np.uint8(255)
    for angle in (0.0, 45.0):
        crop = crop_faces(board.astype(np.uint8), np.array([[127.5, 127.5, 256.0, angle]]), 64)[0, 0]
        assert np.abs(crop[16:48, 16:48] - 0.5).max() < 0.1


def test_upright_and_turned_paths_agree() -> None:
    image = RNG.integers(0, 256, (70, 95)).astype(np.uint8)
    for square in ([40, 30, 47.3, 0], [5, 60, 200, 0], [90, 0, 12, 0]):
        tiny = np.array([square], float) + [0, 0, 0, 1e-9]
        assert np.abs(crop_faces(image, np.array([square], float), 40) - crop_faces(image, tiny, 40)).max() < 1e-5


def test_outside_the_picture_its_edge_goes_on() -> None:
    image = np.full((20, 20), 100, np.uint8)
    for square in ([-30, -30, 20, 0], [10, 10, 300, 0], [50, 10, 8, 30]):
        crop = crop_faces(image, np.array([square], float), 32)
        assert np.allclose(crop, 100 / 255)
    for shape in ((1, 1), (1, 50), (50, 1)):
        assert np.allclose(crop_faces(np.full(shape, 51, np.uint8), np.array([[3.0, 3.0, 9.0, 0.0]]), 32), 0.2)


def test_no_squares() -> None:
    assert crop_faces(ramp(), np.zeros((0, 4)), 32).shape == (0, 1, 32, 32)


@pytest.mark.parametrize("side", [40.0, 128.0, 170.0, 300.0, 700.0])
def test_same_as_training(side: float) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed (extra [train])")
    augment = pytest.importorskip("acdc_fast.training.sampling.augment", reason="the training room needs its extra")
    noise = RNG.integers(0, 256, (25, 30)).astype(np.float32)
    rows, columns = np.linspace(0, 24, 1000), np.linspace(0, 29, 1200)
    smooth = np.array([np.interp(columns, np.arange(30), row) for row in noise])
    smooth = np.array([np.interp(rows, np.arange(25), column) for column in smooth.T]).T.astype(np.uint8)
    for angle in (0.0, 12.0):
        square = np.array([610.3, 490.7, side, angle])
        mine = crop_faces(smooth, square[None], 128)[0, 0] * 255
        theirs = augment.warp(smooth, square, 128).astype(np.float32)
        # All inside the picture. Beyond its border the two differ: training repeats block averages, we repeat pixels.
        # OpenCV rounds positions to 1/32 pixel and values to whole levels, up to three times.
        assert np.abs(mine - theirs).max() < 3 and np.abs(mine - theirs).mean() < 0.6


@pytest.mark.parametrize("shape", [(90, 120), (90, 120, 3)])
@pytest.mark.parametrize("quarters", [1, 2, 3, -1, 4])
def test_quarters_are_the_upright_crop_turned(shape: tuple[int, ...], quarters: int) -> None:
    """Bit for bit the same, and the same as general sampling up to the rounding of its places."""
    image = RNG.integers(0, 256, shape).astype(np.uint8)
    for square in ([60.3, 45.2, 50, 0], [10, 80, 300, 0], [100, 20, 31.7, 0]):
        turned = np.array([square], float) + [0, 0, 0, 90.0 * quarters]
        got = crop_faces(image, turned, 32)[0, 0]
        assert np.array_equal(got, np.rot90(crop_faces(image, np.array([square], float), 32)[0, 0], quarters))
        near = crop_faces(image, turned + [0, 0, 0, 1e-9], 32)[0, 0]
        assert np.abs(got - near).max() < 1e-5


@pytest.mark.parametrize("angle", [0.0, 33.0, 90.0])
def test_in_pieces_or_at_once(angle: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on memory changes values only by the rounding of sums of at most 17 float32 numbers."""
    image = RNG.integers(0, 256, (200, 260, 3)).astype(np.uint8)
    squares = np.array([[130.0, 90.0, 270.0, angle], [40.0, 60.0, 33.0, angle]])
    whole = crop_faces(image, squares, 32)
    monkeypatch.setattr(crops, "PIXELS", 3000)
    monkeypatch.setattr(crops, "SAMPLES", 500)
    assert np.abs(crop_faces(image, squares, 32) - whole).max() < 17 * 2**-23


MEMORY = """
import resource, sys
import numpy as np
from acdc_fast import Model
model = Model.from_pretrained("acdc-w16-fast", stages=1, threads=1)
small = np.zeros((64, 64, 3), np.uint8)
model.align(small, boxes=[[0, 0, 64, 64]])
picture = np.full((10_000, 10_000, 3), 200, np.uint8)
model.usual_spread = float(sys.argv[1])  # 1e-9: every face is looked at in three more turns
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model.align(picture, boxes=[[0, 0, 10_000, 10_000], [-30_000, -30_000, 40_000, 40_000]])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("usual", [1.0, 1e-9])
def test_memory_of_a_picture_of_100_megapixels(usual: float) -> None:
    pytest.importorskip("resource", reason="this platform does not tell the memory of a process")
    done = subprocess.run([sys.executable, "-c", MEMORY, str(usual)], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 200, f"{done.stdout.strip()} MiB beside the picture"
