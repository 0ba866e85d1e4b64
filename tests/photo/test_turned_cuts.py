"""Faces on their side beside upright ones: doubtful boxes are looked at in turned cuts.

Network and library are two `PaintedDetector`s: they see painted faces that stand upright in what they look at. For the
whole picture the network gives the boxes of a list.
"""

from __future__ import annotations

import numpy as np
import pytest
from helpers.painted_faces import PaintedDetector, paint
from PIL import Image

from acdc_fast.detector import pyramid
from acdc_fast.photo import looks, verification
from acdc_fast.photo.detection import OWN_ONLY, OWN_THRESHOLD, Search, detect

#: An upright face, one that stands upright if the picture is turned by so many degrees, and a place without a face.
STANDING, LYING, EMPTY = (60, 80, 140, 180), (300, 240, 380, 340), (480, 40, 560, 140)


def picture_with(turn: int, score: float) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """(480, 640, 3), and where the face lies that ``turn`` degrees clockwise set upright."""
    width, height = (640, 480) if turn % 180 == 0 else (480, 640)
    lying = np.zeros((height, width, 3), np.uint8)
    x, y = (300, 240) if turn % 180 == 0 else (200, 300)
    paint(lying, (x, y, x + 80, y + 100), score, 2)
    picture = np.ascontiguousarray(np.rot90(lying, turn // 90))
    rows, columns = np.nonzero(picture[..., 2] == 25)
    box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    paint(picture, STANDING, 0.99, 1)
    return picture, tuple(int(side) for side in box)  # type: ignore[return-value]


class Painted:
    """Both detectors. ``proposed`` are the network's boxes for a whole picture; what they saw is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, network: float = 0.0) -> None:
        self.proposed: list[tuple[tuple[int, int, int, int], float]] = []
        self.network, self.library, self.score = PaintedDetector(most=1.0), PaintedDetector(most=1.0), network
        monkeypatch.setattr(looks, "find", self.library)
        monkeypatch.setattr(pyramid, "find", self.find)

    def find(self, rgb: np.ndarray, least: float, *rest: object, threads: int | None = 1) -> np.ndarray:
        if max(rgb.shape) > 200:
            faces = np.array([[*box, score] for box, score in self.proposed], float).reshape(-1, 5)
        else:
            faces = self.network(Image.fromarray(rgb))
            faces[:, 4] = self.score
        return faces[faces[:, 4] >= least]


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> Painted:
    return Painted(monkeypatch)


@pytest.mark.parametrize("detector", ["both", "own"])
@pytest.mark.parametrize("turn", [90, 180, 270])
def test_found_beside_an_upright_face(turn: int, detector: str, painted: Painted) -> None:
    picture, lying = picture_with(turn, 0.85)
    painted.score = 0.96
    painted.proposed = [(STANDING, 0.97), (lying, 0.6), (EMPTY, 0.7)]
    boxes, scores = detect(picture, Search(detector), 1)
    order = np.argsort(boxes[:, 0])
    np.testing.assert_allclose(boxes[order], [STANDING, lying], atol=2)
    np.testing.assert_allclose(scores[order], [0.97, 0.85 if detector == "both" else 0.96], atol=1e-6)
    again = detect(picture, Search(detector), 3)
    assert np.array_equal(again[0], boxes) and np.array_equal(again[1], scores)


@pytest.mark.parametrize("standing", [0.97, 0.6])  # sure, or verified: then weaker boxes are looked at upright
@pytest.mark.parametrize(
    ("network", "library", "proposed", "found"),
    [
        (0.91, 0.71, 0.51, True),
        (0.89, 0.71, 0.51, False),
        (0.91, 0.69, 0.51, False),
        (0.91, 0.71, 0.49, False),
    ],
)
def test_both_must_see_it(
    network: float, library: float, proposed: float, found: bool, standing: float, painted: Painted
) -> None:
    picture, lying = picture_with(90, library)
    painted.score, painted.proposed = network, [(STANDING, standing), (lying, proposed)]
    assert len(detect(picture, Search("both"), 1)[0]) == 1 + found
    given = np.array([[*box, score] for box, score in painted.proposed])
    assert len(verification.verified(picture, given, threads=1)) == 1 + found


@pytest.mark.parametrize(("score", "found"), [(0.96, True), (0.94, False)])
def test_the_network_alone_must_be_sure(score: float, found: bool, painted: Painted) -> None:
    picture, lying = picture_with(270, 0.5)
    painted.score, painted.proposed = score, [(STANDING, 0.97), (lying, 0.6)]
    assert len(detect(picture, Search("own"), 1)[0]) == 1 + found
    assert painted.library.seen == 0


def test_cuts_cost_nothing_where_they_tell_nothing_new(painted: Painted) -> None:
    """Where no box is refused, where none counts, and for a box on a face that was found."""
    picture, lying = picture_with(90, 0.9)
    near = tuple(side + 4 for side in STANDING)
    for detector in ("both", "own"):
        painted.proposed = [(STANDING, 0.97), (near, 0.6)]  # type: ignore[list-item]
        assert len(detect(picture, Search(detector, overlap=0.95), 1)[0]) >= 1
        assert painted.network.seen == 0, detector
    painted.proposed = [(lying, 0.55)]
    assert len(verification.in_turned_cuts(picture, np.array([[*lying, 0.6]]), np.zeros((0, 5)), 0.5)[0]) == 0
    assert painted.network.seen == 0


def test_at_most_so_many_and_the_best_first(painted: Painted) -> None:
    picture, lying = picture_with(90, 0.9)
    places = [((x, 400, x + 20, 420), 0.55) for x in range(20, 620, 25)]
    for score, found in ((0.6, True), (0.51, False)):
        painted.network.seen, painted.score = 0, 0.97
        painted.proposed = [(STANDING, 0.97), *places, (lying, score)]
        assert len(detect(picture, Search("own"), 1)[0]) == 1 + found
        assert painted.network.seen == 3 * verification.MOST_TURNED


def test_the_limits_of_the_network_alone(painted: Painted) -> None:
    """All from 0.8 on; in the upright picture from 0.65 on where none is; in turned ones none below 0.8."""
    picture = np.zeros((480, 640, 3), np.uint8)
    below = OWN_THRESHOLD - 0.01
    for proposed, count in (
        ([(STANDING, OWN_THRESHOLD), (LYING, OWN_THRESHOLD), (EMPTY, below)], 2),
        ([(STANDING, OWN_ONLY), (LYING, below), (EMPTY, OWN_ONLY - 0.01)], 2),
        ([(STANDING, OWN_ONLY - 0.01)], 0),
    ):
        painted.proposed = proposed
        assert len(detect(picture, Search("own"), 1)[0]) == count
    painted.proposed = [(STANDING, 0.3), (LYING, 0.29)]
    assert len(detect(picture, Search("own", min_score=0.3), 1)[0]) == 1


def test_in_a_turned_picture_no_lower_limit(painted: Painted, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.zeros((480, 640, 3), np.uint8)
    for score, count in ((OWN_THRESHOLD, 1), (OWN_THRESHOLD - 0.01, 0)):

        def find(rgb: np.ndarray, least: float, *rest: object, score: float = score, **more: object) -> np.ndarray:
            upright = rgb.shape == picture.shape
            faces = np.array([[*STANDING, 0.0 if upright else score]], float)
            return faces[faces[:, 4] >= least]

        monkeypatch.setattr(pyramid, "find", find)
        assert len(detect(picture, Search("own"), 1)[0]) == count


@pytest.mark.parametrize(("size", "found"), [(1.0, True), (0.8, True), (0.5, False)])
def test_the_turn_with_the_best_score_and_the_place_of_the_box(
    size: float, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network sees a face in every turn of the cut, in its middle, as large as the box or smaller."""
    scores = {90: 0.92, 180: 0.97, 270: 0.95}
    turns = iter(scores)

    def find(rgb: np.ndarray, least: float, *rest: object) -> np.ndarray:
        turn, (height, width) = next(turns), rgb.shape[:2]
        across, down = (size * side for side in ((27, 33) if turn == 180 else (33, 27)))
        x, y = width / 2, height / 2
        return np.array([[x - across, y - down, x + across, y + down, scores[turn]]])

    monkeypatch.setattr(pyramid, "find", find)
    counted = np.array([[*STANDING, 0.99]])
    faces, seen = verification.in_turned_cuts(
        np.zeros((480, 640, 3), np.uint8), np.array([[*LYING, 0.6]]), counted, 0.9, 1
    )
    assert len(faces) == len(seen) == found
    if found:
        assert faces[0, 4] == 0.97 and seen[0].turn == 180
        assert verification.overlaps(faces, np.array([LYING]))[0, 0] > 0.9 * size**2
