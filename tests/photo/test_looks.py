"""The looks at a picture, and the places of boxes in it, with a detector of painted faces instead of the library."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from helpers.painted_faces import PaintedDetector, paint
from PIL import Image

from acdc_fast import InputError
from acdc_fast.detector import tiles
from acdc_fast.photo import looks
from acdc_fast.photo.detection import Search, detect

LIBRARY = Search("library")


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> PaintedDetector:
    detector = PaintedDetector()
    monkeypatch.setattr(looks, "find", lambda picture: detector(picture))
    return detector


def black(width: int, height: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def test_scores_stay_with_their_boxes(painted: PaintedDetector) -> None:
    """A small certain face and a large doubtful one, in a picture that is shrunk by two."""
    picture = black(1600, 1000)
    paint(picture, (100, 200, 180, 300), 0.9, 1)
    paint(picture, (800, 200, 1200, 700), 0.5, 2)
    boxes, scores = detect(picture, LIBRARY)
    np.testing.assert_allclose(boxes, [[800, 200, 1200, 700], [100, 200, 180, 300]], atol=4)
    np.testing.assert_allclose(scores, [0.5, 0.9], atol=1e-6)
    assert painted.seen == 1


def test_found_only_with_the_border(painted: PaintedDetector) -> None:
    picture = black(400, 300)
    paint(picture, (0, 100, 90, 200), 0.8, 3)
    boxes, scores = detect(picture, LIBRARY)
    np.testing.assert_allclose(boxes, [[0, 100, 90, 200]], atol=2)
    assert scores == pytest.approx(0.8) and painted.seen == 3


def test_found_only_on_the_smaller_picture(painted: PaintedDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 250 pixels of the 300 that the face has."""
    monkeypatch.setattr(looks, "find", lambda p: np.array([f for f in painted(p) if f[3] - f[1] <= 250]).reshape(-1, 5))
    picture = black(640, 600)
    paint(picture, (200, 150, 400, 450), 0.7, 4)
    boxes, _ = detect(picture, LIBRARY)
    np.testing.assert_allclose(boxes, [[200, 150, 400, 450]], atol=3)
    assert painted.seen == 2


def test_of_overlapping_boxes_the_better_stays(painted: PaintedDetector) -> None:
    painted.echoes = 0.15  # a worse box comes first each time
    picture = black(640, 480)
    paint(picture, (100, 100, 200, 220), 0.9, 1)
    paint(picture, (300, 100, 400, 220), 0.6, 2)
    boxes, scores = detect(picture, LIBRARY)
    np.testing.assert_allclose(boxes, [[100, 100, 200, 220], [300, 100, 400, 220]], atol=1)
    np.testing.assert_allclose(scores, [0.9, 0.6], atol=1e-6)
    painted.echoes = 0.5  # an overlap of a third
    assert len(detect(picture, LIBRARY)[0]) == 4 and len(detect(picture, Search("library", overlap=0.3))[0]) == 2


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_turned_where_nothing_is_found(turn: int, painted: PaintedDetector) -> None:
    """A hat to the right, below, to the left; the picture is not square."""
    upright = black(*((600, 400) if turn == 2 else (400, 600)))
    paint(upright, (50, 100, 130, 200), 0.9, 1)
    face = np.zeros(upright.shape[:2])
    face[100:200, 50:130] = 1
    rows, columns = (np.flatnonzero(np.rot90(face, -turn).any(axis)) for axis in (1, 0))
    boxes, _ = detect(np.ascontiguousarray(np.rot90(upright, -turn)), LIBRARY)
    np.testing.assert_allclose(boxes, [[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], atol=1)
    assert painted.seen == 6


def test_an_upright_face_costs_one_look(painted: PaintedDetector) -> None:
    picture = black(600, 400)
    paint(picture, (50, 100, 130, 200), 0.9, 1)
    detect(picture, LIBRARY)
    assert painted.seen == 1


@pytest.mark.parametrize("size", [(3000, 2000), (900, 2500)])
def test_small_faces_in_tiles(size: tuple[int, int], painted: PaintedDetector) -> None:
    """Faces of 20 pixels all over a large picture, one of 500 among them: each once, where it is."""
    painted.least, painted.most = 18, 0.7
    rng = np.random.default_rng(0)
    picture, wanted = black(*size), []
    for number in range(24):
        x, y = 60 + (number % 6) * (size[0] - 120) // 6, 80 + (number // 6) * (size[1] - 600) // 4
        x, y = x + int(rng.integers(40)), y + int(rng.integers(40))
        wanted.append([x, y, x + 20, y + 24, 0.41 + 0.02 * number])
        paint(picture, tuple(wanted[-1][:4]), wanted[-1][4], number)  # type: ignore[arg-type]
    x, y = 200, size[1] - 450
    paint(picture, (x, y, x + 400, y + 440), 0.95, 24)
    wanted.append([x, y, x + 400, y + 440, 0.95])
    boxes, scores = detect(picture, Search("library", min_size=19))
    assert len(boxes) == len(wanted)
    order = np.argsort(scores)
    np.testing.assert_allclose(boxes[order[:-1]], np.array(wanted)[:-1, :4], atol=2)
    np.testing.assert_allclose(boxes[order[-1]], wanted[-1][:4], atol=6)  # found on the coarse picture
    np.testing.assert_allclose(scores[order], np.array(wanted)[:, 4], atol=0.006)
    for threads in (1, 3):
        again = detect(picture, Search("library", min_size=19), threads)
        assert np.array_equal(again[0], boxes) and np.array_equal(again[1], scores)
    assert len(detect(picture, LIBRARY)[0]) <= 1  # one look at the whole picture is too coarse


def test_scales() -> None:
    assert looks.scales(640, None) == [1.0] and looks.scales(4000, None) == [0.2]
    assert looks.scales(4000, 24) == pytest.approx([0.2, 1.0])
    assert looks.scales(4000, 12) == pytest.approx([0.2, 0.4**0.5, 2.0])  # no step of more than six
    assert looks.scales(4000, 480) == pytest.approx([0.05])  # large faces are looked for on a small picture
    assert looks.scales(100, 1) == pytest.approx([1.0, 2.0])
    assert looks.scales(4000, 4000)[0] * 4000 >= 100


@pytest.mark.parametrize("length", [1, 799, 800, 801, 960, 1441, 3000, 12000])
def test_parts_cover_and_share(length: int) -> None:
    parts = tiles.parts(length, looks.LONGEST, looks.SHARED)
    assert parts[0][0] == 0 and parts[-1][1] == length and all(b - a <= looks.LONGEST for a, b in parts)
    assert all(end - start >= looks.SHARED for (_, end), (start, _) in itertools.pairwise(parts))


def own(boxes: Any, scores: Any) -> Search:
    return Search(detector=lambda rgb: (boxes, scores))


def test_a_detector_of_ones_own() -> None:
    seen = []

    def detector(rgb: np.ndarray) -> tuple[Any, Any]:
        seen.append(rgb)
        return [[0, 0, 10, 10], [20, 20, 60, 70], [100, 5, 130, 40]], [0.1, 0.7, 0.3]

    picture = np.random.default_rng(0).integers(0, 255, (80, 200, 3), np.uint8)
    boxes, scores = detect(picture, Search(detector=detector))
    assert np.array_equal(seen[0], picture)
    assert boxes.tolist() == [[20, 20, 60, 70], [100, 5, 130, 40], [0, 0, 10, 10]]
    np.testing.assert_allclose(scores, [0.7, 0.3, 0.1])
    assert len(detect(picture, Search(detector, min_score=0.2))[0]) == 2
    assert detect(picture, Search(detector, max_faces=1))[1].tolist() == pytest.approx([0.7])
    assert len(detect(picture, Search(detector, min_size=20))[0]) == 2
    boxes, scores = detect(picture, own([], []))
    assert boxes.shape == (0, 4) and scores.shape == (0,)


@pytest.mark.parametrize(
    "boxes, scores",
    [
        ([[0, 0, 9, 9]], [0.5, 0.5]), ([[0, 0, 9]], [0.5]), ([[0, 0, 9, 9]], [2]), ([[9, 0, 0, 9]], [0.5]),
        ([[0, 0, np.nan, 9]], [0.5]), ("text", [0.5]), ([[0, 0, 9, 9]], None), ([[0, 0, 9, 9]], [np.nan]),
    ],
)  # fmt: skip
def test_boxes_that_cannot_be(boxes: Any, scores: Any) -> None:
    with pytest.raises(InputError, match="the detector"):
        detect(black(50, 50), own(boxes, scores))


@pytest.mark.parametrize(
    "settings",
    [
        {"detector": "owl"}, {"detector": 3}, {"min_score": -0.1}, {"min_score": 2}, {"min_score": "high"},
        {"max_faces": 0}, {"max_faces": 1.5}, {"max_faces": True}, {"min_size": 0}, {"min_size": float("nan")},
        {"overlap": None}, {"overlap": 1.1},
    ],
)  # fmt: skip
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        Search(**settings)


def test_pillow_turns_as_said() -> None:
    """Clockwise: what lay on the left lies above."""
    picture = black(60, 40)
    picture[:, 0] = 255
    seen = []
    found = looks.find
    try:
        looks.find = lambda part: seen.append(np.asarray(part)) or np.zeros((0, 5))  # type: ignore[func-returns-value]
        looks.found(picture, [looks.Look(1.0, turn=90)])
    finally:
        looks.find = found
    assert seen[0].shape == (60, 40, 3) and (seen[0][0] == 255).all() and not seen[0][1:].any()


@pytest.mark.parametrize("size", [(700, 500), (40, 33)])
def test_a_part_is_what_pillow_cuts_from_the_whole_picture(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a unit of 255: where the part lies is a rounded number. What is copied is little more than the part."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    picture, copied, copy = Image.fromarray(rgb), [], Image.fromarray
    monkeypatch.setattr(looks.Image, "fromarray", lambda array: copied.append(array.shape) or copy(array))
    for _ in range(60):
        x0, x1 = sorted(rng.choice([0.0, *rng.uniform(0, size[0], 3), size[0]], 2, replace=False))
        y0, y1 = sorted(rng.choice([0.0, *rng.uniform(0, size[1], 3), size[1]], 2, replace=False))
        to = (int(rng.integers(1, 120)), int(rng.integers(1, 120)))
        expected = np.asarray(picture.resize(to, Image.Resampling.BILINEAR, (x0, y0, x1, y1)), int)
        given = np.asarray(looks.part_of(rgb, (x0, y0, x1, y1), to), int)
        assert given.shape == expected.shape and abs(given - expected).max() <= 1
        assert copied[-1][1] <= x1 - x0 + 2 * (3 + max(1, (x1 - x0) / to[0]))
        assert copied[-1][0] <= y1 - y0 + 2 * (3 + max(1, (y1 - y0) / to[1]))
    whole = looks.part_of(np.rot90(rgb), (0, 0, size[1], size[0]), (size[1], size[0]))
    np.testing.assert_array_equal(np.asarray(whole), np.rot90(rgb))
