"""The motion that is read from two frames, on patterns that are moved in a known way."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from acdc_fast.video.motion import Cut

BOX = np.array([110.0, 90.0, 190.0, 195.0])
PLACES = np.random.default_rng(0).uniform((110, 100), (190, 200), (20, 2))
#: Displacement of a place, in pixels: (x, y) from the box's middle, in sides.
MOTIONS = {
    "rest": lambda x, y: (0 * x, 0 * y),
    "shift": lambda x, y: (3.3 + 0 * x, -2.1 + 0 * y),
    "nearer": lambda x, y: (2.5 * x, 2.5 * y),
    "turns in the picture": lambda x, y: (-2.5 * y, 2.5 * x),
    "turns to the side": lambda x, y: (2.0 - 3.0 * x * x, 0 * y),
}


def pattern(seed: int = 0) -> np.ndarray:
    """(300, 300) grey, smooth."""
    coarse = np.random.default_rng(seed).uniform(40, 200, (40, 40)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((300, 300), Image.Resampling.BICUBIC))


def moved(grey: np.ndarray, way: object) -> np.ndarray:
    """The frame in which each place has gone its way: the inverse is found by going back again and again."""
    at = np.stack(np.meshgrid(np.arange(300.0), np.arange(300.0)), -1)
    from_ = at
    for _ in range(8):
        from_ = at - displacement(from_, way)
    x, y = np.clip(from_, 0, 298.99).transpose(2, 0, 1)
    left, top = x.astype(int), y.astype(int)
    x, y = x - left, y - top
    rows = [grey[top + k, left] * (1 - x) + grey[top + k, left + 1] * x for k in (0, 1)]
    return np.asarray(rows[0] * (1 - y) + rows[1] * y)


def displacement(at: np.ndarray, way: object) -> np.ndarray:
    x, y = np.moveaxis((at - (150, 145)) / 92, -1, 0)
    return np.stack(way(x, y), -1)  # type: ignore[operator]


def frame(grey: np.ndarray, seed: int, noise: float = 3.0) -> np.ndarray:
    noisy = grey + np.random.default_rng(seed).normal(0, noise, grey.shape)
    return np.repeat(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)[..., None], 3, 2)


@pytest.mark.parametrize("light", [1.0, 0.9])
@pytest.mark.parametrize("motion", list(MOTIONS))
def test_the_motion_is_found(motion: str, light: float) -> None:
    """To a tenth of a pixel for a face of 90, in noise, also when the light falls. The start is a pixel off."""
    before = pattern()
    after = moved(before, MOTIONS[motion]) * light
    start = displacement(np.array([150.0, 145.0]), MOTIONS[motion]) + (0.6, -0.6)
    found = Cut(frame(before, 1), BOX).motion(frame(after, 2), [start])
    assert found is not None
    off = found.at(PLACES) - displacement(PLACES, MOTIONS[motion])
    assert np.sqrt((off**2).sum(1).mean()) < (0.1 if light == 1 else 0.25)


def test_a_fast_motion_is_found_from_a_start_that_is_near() -> None:
    """Nine pixels are too far for the steps alone; the better of two starts is taken, in either order."""

    def way(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 9 + 0 * x, -6 + 0 * y

    cut, after = Cut(frame(pattern(), 1), BOX), frame(moved(pattern(), way), 2)
    starts = [np.zeros(2), np.array([8.0, -5.0])]
    for order in (starts, starts[::-1]):
        found = cut.motion(after, order)
        assert found is not None and np.abs(found.at(PLACES) - (9, -6)).max() < 0.2


@pytest.mark.parametrize("times", [3, 7])
def test_a_large_face_is_read_in_part_and_as_well(times: int) -> None:
    """The same film enlarged: the motion is as many times as large. Pixel centres lie at whole numbers."""
    films = [frame(pattern(), 1), frame(moved(pattern(), MOTIONS["nearer"]), 2)]
    large = [np.asarray(Image.fromarray(f).resize((300 * times, 300 * times), Image.Resampling.BICUBIC)) for f in films]
    small = Cut(films[0], BOX).motion(films[1], [np.zeros(2)])
    found = Cut(large[0], (BOX + 0.5) * times - 0.5).motion(large[1], [np.zeros(2)])
    assert small is not None and found is not None
    off = found.at((PLACES + 0.5) * times - 0.5) / times - small.at(PLACES)
    assert np.abs(off).max() < 0.1


def test_a_hand_before_a_part_of_the_face_does_not_mislead() -> None:
    after = moved(pattern(), MOTIONS["shift"])
    after[90:200, 172:] = 255
    found = Cut(frame(pattern(), 1), BOX).motion(frame(after, 2), [np.array([3.0, -2.0])])
    seen = PLACES[PLACES[:, 0] < 165]
    assert found is not None and np.abs(found.at(seen) - (3.3, -2.1)).max() < 0.5


@pytest.mark.parametrize("after", [pattern(1), np.full((300, 300), 128.0)], ids=["another", "flat"])
def test_pictures_that_have_nothing_in_common_give_no_motion(after: np.ndarray) -> None:
    assert Cut(frame(pattern(), 1), BOX).motion(frame(after, 2), [np.zeros(2)]) is None


@pytest.mark.parametrize("value", [0, 128])
def test_flat_pictures_give_no_motion(value: int) -> None:
    card = np.full((300, 300, 3), value, np.uint8)
    assert Cut(card, BOX).motion(card, [np.zeros(2)]) is None


def test_a_box_outside_the_picture_is_no_fault() -> None:
    for box in ((-500.0, -500, -400, -400), (290.0, 290, 700, 700), (10.0, 10, 11, 11)):
        cut = Cut(frame(pattern(), 1), np.array(box))
        found = cut.motion(frame(pattern(), 2), [np.zeros(2), np.array([1e4, 0.0])])
        assert found is None or np.isfinite(found.at(PLACES)).all()
