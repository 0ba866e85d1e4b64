"""Points are drawn at their place, at the picture's scale, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from acdc_fast.errors import InputError
from acdc_fast.photo import draw
from acdc_fast.photo.coordinates import euler_to_matrix
from acdc_fast.types import Faces, HeadPose


def faces(box: list[float], points: np.ndarray, pose: bool = True, sure: float = 1.0) -> Faces:
    matrix = euler_to_matrix(0, 0, 0)[None].astype(np.float32)
    zero = np.zeros(1, np.float32)
    count = points.shape[0]
    return Faces(
        np.array([box], np.float32), np.ones(1, np.float32), {"2d5": points[None].astype(np.float32)},
        {"2d5": np.ones((1, count), np.float32)}, {"2d5": np.full((1, count), sure, np.float32)},
        HeadPose(zero, zero, zero, matrix) if pose else None,
    )  # fmt: skip


def changed(image: np.ndarray, given: Faces) -> np.ndarray:
    return (np.asarray(draw.draw_faces(image, given)) != image).any(2)


def test_dots_lie_on_their_points() -> None:
    blank = np.zeros((200, 200, 3), np.uint8)
    point = np.array([[90.0, 110.0]])
    where = changed(blank, faces([0, 0, 0.5, 0.5], point, pose=False))
    rows, columns = np.nonzero(where[50:, 50:])
    assert abs(rows.mean() + 50 - 110) < 0.3 and abs(columns.mean() + 50 - 90) < 0.3
    assert np.ptp(rows) <= 4  # half a pixel of stroke, whatever the face's size


def test_subpixel_positions_show() -> None:
    """Anti-aliased: a dot moved by half a pixel moves the centre of its light by half a pixel."""
    blank = np.zeros((64, 64, 3), np.uint8)
    centres = []
    for x in (30.0, 30.5):
        picture = np.asarray(draw.draw_faces(blank, faces([0, 0, 0.5, 0.5], np.array([[x, 30.0]]), pose=False)))
        light = picture[20:, 20:].sum(2, dtype=np.float64)
        centres.append((light.sum(0) * np.arange(20, 64)).sum() / light.sum())
        levels = np.unique(light)
        assert len(levels) > 4
    assert centres[0] == pytest.approx(30.0, abs=0.15) and centres[1] - centres[0] == pytest.approx(0.5, abs=0.15)


def test_strokes_grow_with_the_face() -> None:
    point = np.array([[400.0, 400.0]])
    small = changed(np.zeros((800, 800, 3), np.uint8), faces([380, 380, 420, 420], point, pose=False))
    large = changed(np.zeros((800, 800, 3), np.uint8), faces([100, 100, 700, 700], point, pose=False))
    assert large[390:411, 390:411].sum() > 4 * small[395:406, 395:406].sum() > 0


def test_axes_point_right_up_and_ahead() -> None:
    blank = np.zeros((200, 200, 3), np.uint8)
    given = faces([80, 80, 120, 120], np.array([[100.0, 100.0]]))
    picture = np.asarray(draw.draw_faces(blank, given)).astype(int)
    # A thin line that is averaged over its pixels keeps its hue, not its full brightness.
    red, green = picture[100, 115], picture[85, 100]
    assert red[0] > 100 and red[0] > 2 * max(red[1:])
    assert green[1] > 100 and green[1] > 1.5 * max(green[0], green[2])


def test_doubt_shows() -> None:
    blank, point = np.zeros((60, 60, 3), np.uint8), np.array([[30.0, 30.0]])
    sure = np.asarray(draw.draw_faces(blank, faces([0, 0, 59, 59], point, pose=False, sure=1.0)))[30, 30]
    doubt = np.asarray(draw.draw_faces(blank, faces([0, 0, 59, 59], point, pose=False, sure=0.0)))[30, 30]
    assert sure[2] > sure[0] and doubt[0] > doubt[2]


@pytest.mark.parametrize(
    "box", [[-500, -500, -300, -300], [-20, -20, 30, 30], [40, 40, 900, 900], [-9000, -9000, 9000, 9000]]
)
def test_faces_beyond_the_border(box: list[float]) -> None:
    image = np.full((50, 70, 3), 9, np.uint8)
    points = np.array([[box[0], box[1]], [box[2], box[3]], [20.0, 20.0]])
    assert draw.draw_faces(image, faces(box, points)).size == (70, 50)


def test_large_pictures_stay_affordable() -> None:
    """The finer layer, which is averaged, has at most MOST pixels a side. Larger pictures have none."""
    image = np.zeros((3000, 5000, 3), np.uint8)
    assert draw.draw_faces(image, faces([100, 100, 4900, 2900], np.array([[2500.0, 1500.0]]))).size == (5000, 3000)


def test_no_faces_changes_nothing_and_wrong_markup_is_said() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    given = faces([1, 1, 9, 9], np.array([[3.0, 3.0]]))
    assert np.array_equal(np.asarray(draw.draw_faces(image, given[:0])), image)
    with pytest.raises(InputError, match="'2d98'; they have 2d5"):
        draw.draw_faces(image, given, markup="2d98")
