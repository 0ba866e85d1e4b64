"""`detector="both"`: the network proposes faces, the library verifies those of which the network is not sure.

The library is the `PaintedDetector`: it sees painted faces that stand upright, wherever they lie and however large.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from helpers.painted_faces import PaintedDetector, paint
from PIL import Image

from acdc_fast.detector import pyramid
from acdc_fast.photo import detection, libfacedetection, looks, verification
from acdc_fast.photo.detection import Search, detect

#: Faces on a picture of 640×480: at two borders, in the middle, small.
BOXES = [(2, 8, 62, 80), (300, 200, 380, 300), (570, 390, 636, 476), (450, 60, 466, 80)]


def black(width: int, height: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> PaintedDetector:
    painted = PaintedDetector(most=1.0)
    monkeypatch.setattr(looks, "find", painted)
    return painted


def crowd() -> np.ndarray:
    picture = black(640, 480)
    for number, box in enumerate(BOXES):
        paint(picture, box, 0.7 + 0.05 * number, number)
    return picture


def rows(*faces: tuple[tuple[float, ...], float], shift: float = 0.0) -> np.ndarray:
    moved = [[box[0] + shift, box[1] + shift, box[2] + shift, box[3] + shift, score] for box, score in faces]
    return np.array(moved, float).reshape(-1, 5)


def proposing(monkeypatch: pytest.MonkeyPatch, propose: Callable[[np.ndarray], np.ndarray]) -> list[float]:
    """The network proposes what the function gives for a picture; the least scores that it is asked for."""
    asked: list[float] = []

    def find(rgb: np.ndarray, least: float, *rest: object) -> np.ndarray:
        asked.append(least)
        faces = propose(rgb)
        return faces[faces[:, 4] >= least]

    monkeypatch.setattr(pyramid, "find", find)
    return asked


def test_overlaps() -> None:
    a = np.array([[0, 0, 10, 10, 0.5], [20, 20, 30, 40, 0.1]], float)
    b = np.array([[5, 0, 15, 10], [0, 0, 10, 10], [50, 50, 60, 60]], float)
    np.testing.assert_allclose(verification.overlaps(a, b), [[1 / 3, 1, 0], [0, 0, 0]])
    assert verification.overlaps(a, b[:0]).shape == (2, 0)


def test_verified_boxes_are_the_librarys_in_pixels_of_the_picture(library: PaintedDetector) -> None:
    """Each at its place, with its own score. A pixel of the cut is lost at blended edges: up to 1.6 of the picture."""
    proposed = rows(*((box, 0.5 + 0.1 * number) for number, box in enumerate(BOXES)), shift=3)
    faces = verification.verified(crowd(), proposed, threads=1)
    faces = faces[np.argsort(faces[:, 4])]
    np.testing.assert_allclose(faces[:, :4], BOXES, atol=2)
    np.testing.assert_allclose(faces[:, 4], [0.7, 0.75, 0.8, 0.85], atol=1e-6)
    assert library.seen == 4 + 2  # a second time at those of 0.7 and 0.75
    for threads in (2, None):
        again = verification.verified(crowd(), proposed, threads=threads)
        assert np.array_equal(again[np.argsort(again[:, 4])], faces)


def test_which_boxes_count(library: PaintedDetector) -> None:
    """Sure ones unseen; doubtful ones that the library sees there, with a score that suffices; no weaker ones."""
    empty = (100.0, 300.0, 180.0, 400.0)
    proposed = rows((empty, 0.96), ((500.0, 250.0, 560.0, 320.0), 0.94), (BOXES[1], 0.51), (BOXES[2], 0.49))
    faces = verification.verified(crowd(), proposed, threads=1)
    np.testing.assert_allclose(faces[0], [*empty, 0.96])
    np.testing.assert_allclose(faces[1:], [[*BOXES[1], 0.75]], atol=2)
    assert library.seen == 2 + 1
    faces = verification.verified(crowd(), rows((BOXES[1], 0.31), (BOXES[2], 0.29)), threads=1)
    np.testing.assert_allclose(faces, [[*BOXES[1], 0.75]], atol=2)  # where none is sure, weaker ones are looked at
    assert len(verification.verified(crowd(), rows((BOXES[1], 0.5)), 0.76, 1)) == 0
    assert len(verification.verified(crowd(), rows((BOXES[1], 0.5)), 0.74, 1)) == 1
    for shift, count in ((17, 1), (27, 0), (40, 0)):  # overlaps of 0.48, 0.32 and 0.18: a face, but elsewhere
        assert len(verification.verified(crowd(), rows((BOXES[1], 0.5), shift=shift), threads=1)) == count, shift
    assert verification.verified(crowd(), rows()).shape == (0, 5)
    at_limits = rows((empty, verification.SURE), (BOXES[1], verification.DOUBTFUL), (BOXES[2], 0.4))
    faces = verification.verified(crowd(), at_limits, threads=1)
    np.testing.assert_allclose(faces, [[*empty, verification.SURE], [*BOXES[1], 0.75]], atol=2)


def test_the_best_of_the_librarys_boxes_counts(library: PaintedDetector) -> None:
    library.echoes = 0.1  # each face comes a second time, before it, with a worse score
    faces = verification.verified(crowd(), rows((BOXES[1], 0.5)), threads=1)
    np.testing.assert_allclose(faces, [[*BOXES[1], 0.75]], atol=2)


def test_at_most_so_many_are_verified_and_the_weaker_are_dropped(library: PaintedDetector) -> None:
    nothing = [((float(x), 400.0, x + 20.0, 420.0), 0.5) for x in range(0, 600, 10)]
    faces = verification.verified(crowd(), rows((BOXES[0], 0.4), *nothing, (BOXES[1], 0.6)), threads=1)
    np.testing.assert_allclose(faces, [[*BOXES[1], 0.75]], atol=2)
    assert library.seen == verification.MOST + 1


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        (0.79, 0.62, 0.705),
        (0.79, 0.6, None),
        (0.52, 0.89, 0.705),
        (0.49, 1.0, None),
        (0.81, 0.0, 0.81),
        (0.75, 0, None),
    ],
)
def test_a_second_look_where_the_score_is_close(
    first: float, second: float, counts: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library gives these scores for the small and the larger cut; 0: nothing. The box is that of the first."""
    near, far = (100.0, 100.0, 160.0, 160.0), (400.0, 300.0, 460.0, 360.0)
    cuts: list[int] = []

    def find(part: Image.Image) -> np.ndarray:
        cuts.append(part.width)
        corner, score = (part.width - 60) / 2, first if part.width == verification.CUT else second
        wide = 0 if part.width == verification.CUT else 4  # the second look's box is another
        box = [corner - wide, corner, corner + 60, corner + 60, score if part.getpixel((0, 0)) == (0, 0, 0) else 0.95]
        return np.array([box] if score else []).reshape(-1, 5)

    monkeypatch.setattr(looks, "find", find)
    picture = black(640, 480)
    picture[200:, 300:] = 9  # around the other box, which the library sees at once
    faces = verification.verified(picture, rows((near, 0.6), (far, 0.7)), threads=1)
    np.testing.assert_allclose(faces, [[*far, 0.95]] + ([[*near, counts]] if counts else []))
    assert cuts == [96, 96] + [128] * (first not in (0.49, 0.81))


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (640, 480), (4000, 31)])
def test_cuts_lie_in_the_picture(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for middle in rng.uniform(-0.5, 1.5, (200, 2)) * size:
        half = np.exp(rng.uniform(0, np.log(2000), 2))
        longest = int(rng.choice([verification.CUT, verification.LARGER]))
        look = verification.cut(np.array([*(middle - half), *(middle + half)]), *size, longest)
        assert look.tile is not None
        left, top, right, bottom = look.tile
        across, down = looks.scaled_size(size, look.scale)
        assert 0 <= left < right <= across and 0 <= top < bottom <= down
        assert max(right - left, bottom - top) <= longest and look.scale <= verification.ENLARGED


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_lying_face_is_verified_in_the_turn_in_which_it_stands(
    turn: int, library: PaintedDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network proposes the right place in every turn; the library must look at the picture in that turn."""
    upright = black(*((640, 480) if turn in (0, 180) else (480, 640)))
    paint(upright, (50, 100, 130, 200), 0.8, 1)
    picture = np.ascontiguousarray(np.rot90(upright, turn // 90))  # `turn` clockwise sets it upright

    def propose(rgb: np.ndarray) -> np.ndarray:
        y, x = np.nonzero(rgb[..., 1] == upright[150, 90, 1])
        return rows(((x.min(), y.min(), x.max() + 1, y.max() + 1), 0.5))

    asked = proposing(monkeypatch, propose)
    y, x = np.nonzero(picture[..., 1] == upright[150, 90, 1])
    boxes, scores = detect(picture, Search("both"))
    np.testing.assert_allclose(boxes, [[x.min(), y.min(), x.max() + 1, y.max() + 1]], atol=2)
    np.testing.assert_allclose(scores, [0.8], atol=1e-6)
    assert asked == [verification.PROPOSED] * (1 + turn // 90)


def test_worth_a_look() -> None:
    """All from 0.3 on where no box is sure; where one is, all from 0.5 on."""
    box = (0.0, 0.0, 20.0, 20.0)
    unsure = rows(*((box, score) for score in (0.29, 0.3, 0.5, 0.949)))
    assert verification.worth_a_look(unsure).tolist() == [False, True, True, True]
    sure = rows(*((box, score) for score in (0.3, 0.499, 0.5, 0.95)))
    assert verification.worth_a_look(sure).tolist() == [False, False, True, True]
    assert verification.worth_a_look(rows()).shape == (0,)


def test_no_library_where_the_network_is_sure(library: PaintedDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    proposing(monkeypatch, lambda rgb: rows((BOXES[0], 0.99), (BOXES[1], 0.96)))
    boxes, _ = detect(crowd(), Search("both"))
    np.testing.assert_allclose(boxes, [BOXES[1], BOXES[0]])
    assert library.seen == 0
    assert len(detect(crowd(), Search("both", min_score=0.97))[0]) == 1


def test_boxes_of_one_face_are_verified_once(library: PaintedDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that they leave room for other faces in what is verified at most."""
    doubles = [(tuple(side + 0.1 * i for side in BOXES[1]), 0.9 - 0.001 * i) for i in range(verification.MOST)]
    proposing(monkeypatch, lambda rgb: rows(*doubles, (BOXES[2], 0.6)))
    boxes, _ = detect(crowd(), Search("both"))
    np.testing.assert_allclose(boxes, [BOXES[1], BOXES[2]], atol=2)
    assert library.seen == 2 + 1  # one of them a second time


def test_lower_scores_where_they_are_asked_for(library: PaintedDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = black(640, 480)
    paint(picture, BOXES[1], 0.5, 1)
    proposing(monkeypatch, lambda rgb: rows((BOXES[1], 0.7)) if rgb.shape == picture.shape else rows())
    assert len(detect(picture, Search("both"))[0]) == 0
    assert len(detect(picture, Search("both", min_score=0.45))[0]) == 1


@pytest.mark.parametrize("size", [(150, 150), (1200, 900)])
def test_where_nothing_is_proposed_the_library_looks_once_at_a_small_picture(
    size: tuple[int, int], library: PaintedDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = proposing(monkeypatch, lambda rgb: rows())
    picture = black(*size)
    box = (0, size[1] // 6, size[0] * 7 // 10, size[1] * 9 // 10)  # cut by the picture's border
    paint(picture, box, 0.8, 1)
    boxes, scores = detect(picture, Search("both"))
    np.testing.assert_allclose(boxes, [box], atol=size[0] / detection.LAST)
    np.testing.assert_allclose(scores, [0.8], atol=1e-6)
    assert library.seen == 1 and len(asked) == 4
    assert len(detect(picture, Search("both", min_score=0.85))[0]) == 0


def test_the_network_and_the_library_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is replaced: a face that the network doubts is found, at its size, and a flat picture has none."""
    assert len(detect(np.full((300, 200, 3), 90, np.uint8), Search("both"))[0]) == 0
    photo = Image.open("examples/astronaut.jpg").convert("RGB")
    (box,), _ = detect(np.asarray(photo), Search("both"))
    looked: list[tuple[int, int]] = []

    def find(picture: Image.Image) -> np.ndarray:
        looked.append(picture.size)
        return libfacedetection.find(picture)

    monkeypatch.setattr(looks, "find", find)
    monkeypatch.setattr(verification, "SURE", 1.1)
    (verified,), scores = detect(np.asarray(photo), Search("both"))
    assert looked and max(max(size) for size in looked) <= verification.LARGER
    assert verification.overlaps(box[None], verified[None])[0, 0] > 0.7 and scores[0] >= verification.VERIFIED
