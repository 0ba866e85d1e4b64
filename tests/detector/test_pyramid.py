"""What our own detector looks at, and where boxes come back to, with a network of painted squares in its place."""

from __future__ import annotations

import numpy as np
import pytest

from acdc_fast import InputError
from acdc_fast.detector import pyramid
from acdc_fast.photo.detection import Search, detect
from acdc_fast.photo.verification import overlaps


class PaintedNetwork:
    """Finds squares of one grey on black, as the network finds faces: of 12 to 130 pixels, whole or cut by the border.

    Each is told twice, a pixel to the left and to the right, as neighbouring cells do. A part tells those whose upper
    side lies in its share of the rows."""

    def __init__(self) -> None:
        self.looks: list[tuple[int, ...]] = []
        self.parts: list[int] = []

    def find(self, grey: np.ndarray, least: float, part: int = 0, parts: int = 1) -> np.ndarray:
        self.looks += [grey.shape] if part == 0 else []
        self.parts.append(parts)
        rows = []
        for value in np.unique(grey[grey >= 50]):
            y, x = np.nonzero(grey == value)
            box = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], float)
            if len(x) >= 9 and 11 <= np.sqrt((box[2] - box[0]) * (box[3] - box[1])) <= 130 and value / 255 >= least:
                if not part * len(grey) <= y.min() * parts < (part + 1) * len(grey):
                    continue
                rows += [[*(box + (d, 0, d, 0)), value / 255 - 0.00025 * d] for d in (-1, 1)]
        return np.array(rows, np.float32).reshape(-1, 5)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> PaintedNetwork:
    made = PaintedNetwork()
    monkeypatch.setattr(pyramid, "bundled", lambda: made)
    return made


def painted(height: int, width: int, *squares: tuple[int, int, int, int, int]) -> np.ndarray:
    rgb = np.zeros((height, width, 3), np.uint8)
    for x0, y0, x1, y1, value in squares:
        rgb[y0:y1, x0:x1] = value
    return rgb


def own(rgb: np.ndarray, **settings: object) -> tuple[np.ndarray, np.ndarray]:
    return detect(rgb, Search(detector="own", min_score=0.1, **settings))  # type: ignore[arg-type]


def test_small_and_large_faces_each_in_their_look(network: PaintedNetwork) -> None:
    rgb = painted(640, 800, (40, 60, 60, 84, 200), (200, 100, 680, 600, 120))
    boxes, scores = own(rgb)
    np.testing.assert_allclose(boxes, [[200, 100, 680, 600], [40, 60, 60, 84]], atol=0.02)
    np.testing.assert_allclose(scores, [120 / 255, 200 / 255], atol=2e-3)
    assert network.looks == [(640, 800), (160, 200), (40, 50)]


def test_large_pictures_are_looked_at_smaller_and_in_full_for_small_faces(network: PaintedNetwork) -> None:
    rgb = painted(1500, 4000, (2000, 600, 2016, 616, 250), (2100, 900, 2150, 950, 150))
    boxes, _ = own(rgb)
    np.testing.assert_allclose(boxes, [[2100, 900, 2150, 950]], atol=2)
    assert network.looks[0] == (750, 2000)
    network.looks.clear()
    boxes, scores = own(rgb, min_size=12)
    np.testing.assert_allclose(boxes, [[2100, 900, 2150, 950], [2000, 600, 2016, 616]], atol=0.02)
    np.testing.assert_allclose(scores, [150 / 255, 250 / 255], atol=2e-3)
    tiles = [shape for shape in network.looks if shape[0] == 1500]
    assert len(tiles) == 3 and all(width <= pyramid.LONGEST for _, width in tiles)


@pytest.mark.parametrize("x", range(1200, 1500, 25))
def test_a_face_on_the_border_of_tiles_is_found_once_and_whole(network: PaintedNetwork, x: int) -> None:
    boxes, _ = own(painted(300, 2600, (x, 100, x + 110, 210, 200)), min_size=12)
    np.testing.assert_allclose(boxes, [[x, 100, x + 110, 210]], atol=0.02)


def test_tiles_of_a_shrunk_picture(network: PaintedNetwork) -> None:
    rgb = painted(200, 5000, (400, 40, 500, 140, 180), (4600, 60, 4680, 140, 220))
    boxes, _ = own(rgb, min_size=48)
    assert [shape for shape in network.looks if shape[0] == 100] == 2 * [(100, network.looks[0][1])]
    np.testing.assert_allclose(boxes, [[400, 40, 500, 140], [4600, 60, 4680, 140]], atol=0.02)


def test_a_face_cut_by_the_picture_is_kept(network: PaintedNetwork) -> None:
    boxes, _ = own(painted(300, 2600, (0, 0, 60, 80, 200), (2540, 240, 2600, 300, 220)), min_size=12)
    assert len(boxes) == 2


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_turned_back(network: PaintedNetwork, monkeypatch: pytest.MonkeyPatch, turn: int) -> None:
    """The network sees the face in the turned picture alone: where its corner mark is at the upper left."""
    seen = pyramid.find
    upright = painted(300, 200, (50, 40, 110, 120, 180))
    picture = np.rot90(upright, turn // 90)

    def find(rgb: np.ndarray, *args: object) -> np.ndarray:
        return seen(rgb, *args) if np.array_equal(rgb, upright) else np.zeros((0, 5))  # type: ignore[arg-type]

    monkeypatch.setattr(pyramid, "find", find)
    boxes, _ = own(picture)
    y, x = np.nonzero(picture[..., 0])
    np.testing.assert_allclose(boxes, [[x.min(), y.min(), x.max() + 1, y.max() + 1]], atol=0.02)


def test_the_same_for_any_number_of_threads(network: PaintedNetwork) -> None:
    """Of the largest looks each thread has some rows, in every tile, and boxes are in one order."""
    rgb = painted(
        2500, 2700, *((100 + 300 * i, 2400 - 290 * i, 140 + 300 * i, 2440 - 290 * i, 60 + 20 * i) for i in range(8))
    )
    alone = detect(rgb, Search(detector="own", min_score=0.1, min_size=12), threads=1)
    assert len(alone[0]) == 8 and set(network.parts) == {1}
    for threads in (2, 5):
        network.parts.clear()
        for a, b in zip(alone, detect(rgb, Search(detector="own", min_score=0.1, min_size=12), threads), strict=True):
            np.testing.assert_array_equal(a, b)
        assert max(network.parts) == threads


@pytest.mark.parametrize(("size", "factor"), [((3001, 4000), 2), ((1700, 1001), 1), ((1999, 2000), 7)])
def test_threads_shrink_a_picture_to_the_same_pixels(size: tuple[int, int], factor: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    shrink = pyramid.library().shrink
    for many in (1, 2, 3, 8):
        np.testing.assert_array_equal(pyramid._shrunk(shrink, rgb, factor, many), shrink(rgb, factor))


def test_threads_of_the_networks_own_engine() -> None:
    """Nothing is replaced: noise, in which the network sees many weak boxes, and a score that lets them pass."""
    rgb = np.random.default_rng(1).integers(0, 256, (1100, 900, 3), dtype=np.uint8)
    rgb[200:700, 100:600] = np.repeat(np.repeat(rgb[:100, :100], 5, 0), 5, 1)
    alone = pyramid.find(rgb, 0.01, threads=1)
    assert len(alone) > 20
    for threads in (2, 3, None):
        np.testing.assert_array_equal(pyramid.find(rgb, 0.01, threads=threads), alone)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (33, 5), (31, 4000), (9000, 40)])
def test_odd_pictures(network: PaintedNetwork, shape: tuple[int, int]) -> None:
    for settings in ({}, {"min_size": 1}, {"min_size": 5000.0}):
        boxes, scores = own(np.zeros((*shape, 3), np.uint8), **settings)
        assert boxes.shape == (0, 4) and scores.shape == (0,)


def test_joined_gives_each_face_once_with_the_mean_box() -> None:
    cells = np.array([[10, 10, 30, 30, 0.5], [12, 10, 32, 30, 0.9], [100, 100, 120, 130, 0.6], [13, 11, 33, 31, 0.4]])
    faces = pyramid.joined(cells)
    assert faces.shape == (2, 5)
    weights = np.array([0.5, 0.9, 0.4]) ** 4
    np.testing.assert_allclose(faces[0, :4], weights @ cells[[0, 1, 3], :4] / weights.sum())
    np.testing.assert_allclose(faces[0, 4], 0.9)
    np.testing.assert_allclose(faces[1], cells[2])
    assert pyramid.joined(np.zeros((0, 5))).shape == (0, 5)


def test_joined_takes_cells_in_any_order() -> None:
    """Ties of the scores too. A cell belongs to the best face that it overlaps by half, and to that one alone."""
    rng = np.random.default_rng(2)
    corner, side = rng.uniform(0, 60, (60, 2)), rng.uniform(10, 60, (60, 2))
    cells = np.concatenate([corner, corner + side, rng.choice([0.3, 0.5, 0.8], (60, 1))], 1)
    faces = pyramid.joined(cells)
    rest, wanted = cells[np.lexsort((cells[:, 0], cells[:, 1], -cells[:, 4]))], []
    while len(rest):
        same = overlaps(rest[:1], rest)[0] >= 0.5
        weights = rest[same, 4] ** 4
        wanted.append([*(weights @ rest[same, :4] / weights.sum()), rest[0, 4]])
        rest = rest[~same]
    np.testing.assert_allclose(faces, wanted, rtol=1e-12)
    for _ in range(5):
        np.testing.assert_array_equal(pyramid.joined(rng.permutation(cells)), faces)
    with pytest.raises(InputError, match="finite"):
        pyramid.joined(np.array([[0, 0, np.nan, 1, 0.5]]))
    with pytest.raises(InputError, match=r"\(N, 5\)"):
        pyramid.joined(np.zeros((3, 4)))


def test_unknown_detector() -> None:
    with pytest.raises(InputError, match='"both", "own", "library" or a function'):
        Search(detector="owl")


@pytest.mark.parametrize("size", [(640, 800), (1231, 2077), (3001, 4503), (130, 90)])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_turned_levels_show_the_turned_picture(size: tuple[int, int], degrees: int) -> None:
    """Each level is the picture's own, turned; and its first pixel lies where ``left`` and ``top`` say."""
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    picture = np.rot90(rgb, -degrees // 90)
    upright = pyramid.levels(rgb, 170)
    for level, before in zip(pyramid.turned(upright, *size, degrees), upright, strict=True):
        assert np.array_equal(level.grey, np.rot90(before.grey, -degrees // 90)) and level.factor == before.factor
        assert 0 <= level.left < level.factor and 0 <= level.top < level.factor
        if level.factor == upright[0].factor:  # the coarser ones are made of this one
            rows, columns = (level.factor * side for side in level.grey.shape)
            shown = picture[level.top : level.top + rows, level.left : level.left + columns]
            assert np.array_equal(pyramid.library().shrink(np.ascontiguousarray(shown), level.factor), level.grey)


def test_faces_of_given_levels_are_those_of_the_turned_picture(network: PaintedNetwork) -> None:
    rgb = painted(1999, 4003, (300, 500, 420, 620, 200), (3000, 100, 3900, 1000, 120))
    upright = pyramid.levels(rgb)
    for degrees in (0, 90, 180, 270):
        picture = np.rot90(rgb, -degrees // 90)
        given = pyramid.find(picture, 0.1, given=pyramid.turned(upright, 1999, 4003, degrees))
        for value, close in ((200, 2.1), (120, 8.1)):  # a pixel of the level that sees it
            where = np.argwhere(picture[..., 0] == value)
            box = [*where.min(0)[::-1], *(where.max(0)[::-1] + 1)]
            assert abs(given[:, :4] - box).max(1).min() <= close, (degrees, value)
