"""The table of markups: the numbers of its points, and that a new markup is one entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from acdc_fast import Model
from acdc_fast.config import ACDCConfig
from acdc_fast.markups import MARKUPS, Markup, first_of, five_points, mirrored_points, of_count, register
from acdc_fast.photo.draw import draw_faces

#: Eyes, nose tip and mouth corners by the numbers that the markups' authors print: iBUG, WFLW, COFW, CelebA.
FIVE = {
    "2d98": [range(60, 68), range(68, 76), [54], [76], [82]],
    "2d68": [range(36, 42), range(42, 48), [30], [48], [54]],
    "3d68": [range(36, 42), range(42, 48), [30], [48], [54]],
    "2d29": [[16], [17], [20], [22], [23]],
    "2d5": [[0], [1], [2], [3], [4]],
}


def test_markups_without_the_five_are_those_that_no_crop_is_cut_by() -> None:
    assert set(MARKUPS) - set(FIVE) == {m.name for m in MARKUPS.values() if m.five is None} == {"2d10"}


@pytest.mark.parametrize("name", FIVE)
def test_values_of_the_five_points(name: str) -> None:
    points = np.random.default_rng(0).uniform(0, 1, (3, MARKUPS[name].points, 2))
    expected = np.stack([points[:, list(group)].mean(1) for group in FIVE[name]], 1)
    assert five_points(points) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", FIVE)
def test_a_mirrored_face_has_its_five_points_mirrored(name: str) -> None:
    points = np.random.default_rng(1).uniform(0, 1, (MARKUPS[name].points, 2))
    mirrored = five_points(mirrored_points(points, name))
    expected = (five_points(points) * (-1, 1) + (1, 0))[[1, 0, 2, 4, 3]]
    assert mirrored == pytest.approx(expected, abs=1e-12)
    assert mirrored_points(mirrored_points(points, name), name) == pytest.approx(points, abs=1e-12)


def test_eye_corners_lie_at_opposite_places() -> None:
    for markup in MARKUPS.values():
        left, right = markup.eye_corners or (0, 0)
        assert left < right and markup.mirror[left] == right


def test_unknown_markups_are_named() -> None:
    with pytest.raises(ValueError, match="no markup has 21 points; known: 98, 68, 29, 10, 5"):
        five_points(np.zeros((1, 21, 2)))
    assert of_count(68).name == "2d68"


@pytest.fixture
def triangle() -> Iterator[Markup]:
    """A markup that the package does not know: two eyes and a chin."""
    markup = Markup("2d3", 3, ((0, 1),), ((0, 2, 1),), (0, 1))
    register(markup)
    yield markup
    del MARKUPS["2d3"]


def test_a_new_markup_is_one_entry(triangle: Markup) -> None:
    config = ACDCConfig(width=8, markups=("2d5", "2d3", "3d68"))
    assert config.points == {"2d5": 5, "2d3": 3, "3d68": 68} and config.slices["2d3"] == slice(5, 8)
    register(triangle)  # the same again says nothing
    with pytest.raises(ValueError, match="'2d3' is known already"):
        register(Markup("2d3", 3))
    with pytest.raises(ValueError, match="the five points of markup '2d3' are unknown"):
        five_points(np.zeros((1, 3, 2)))


def test_a_network_of_new_markups_alone_aligns_and_draws(triangle: Markup) -> None:
    """Without the five points no crop is cut again by them; everything else goes on."""
    pytest.importorskip("torch", reason="torch is not installed: it makes the weights of this test")
    from helpers.small import small_weights

    weights = replace(small_weights(stages=1, variant="ac", markups=("2d3",)), card={"narrowest_spread": "1e-6"})
    model = Model(weights, resolution=32)
    picture = np.random.default_rng(0).integers(0, 256, (90, 80, 3)).astype(np.uint8)
    faces = model.align(picture, boxes=[[10, 10, 60, 70]])
    assert faces.landmarks["2d3"].shape == (1, 3, 2) and np.isfinite(faces.landmarks["2d3"]).all()
    assert np.any(np.asarray(draw_faces(picture, faces)) != picture)
    assert len(list(model.track([picture] * 3))) == 3


def test_the_first_markup_of_an_order(triangle: Markup) -> None:
    assert first_of(["2d3", "2d5"], ("2d68", "2d5")) == "2d5" and first_of(["2d3"], ("2d68",)) == "2d3"
    assert first_of(["2d3"], ("2d3",), with_five=True) is None and first_of([], ("2d68",)) is None
    assert first_of(["2d3", "2d29"], ("2d68",), with_five=True) == "2d29"


def test_bad_entries_are_refused() -> None:
    for values, words in [
        (("68", 68), "begins with 2d or 3d"),
        (("2d3", 3, ((0, 3),)), "there is no point 3"),
        (("2d3", 3, ((0, 1), (1, 2))), "one mirror pair only"),
        (("2d3", 3, (), (), None, ((0,), (1,))), "five groups"),
    ]:
        with pytest.raises(ValueError, match=words):
            Markup(*values)  # type: ignore[arg-type]
