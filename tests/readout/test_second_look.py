"""Boxes of other kinds than the detector's, through `Model.align`: the crop is cut again until it fits."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.paths import PHOTO
from PIL import Image

from acdc_fast import InputError, Model
from acdc_fast.alignment import Squares
from acdc_fast.photo.coordinates import square_from_box
from acdc_fast.photo.images import load_picture
from acdc_fast.readout import second_look
from acdc_fast.readout.reading import Reading, reading_of
from acdc_fast.types import Prediction

LIMITS = second_look.USUAL
KINDS = {  # wrong boxes: factors of width and height, then shifts of the centre as shares of width and height
    "half": (0.5, 0.5, 0, 0), "smaller": (0.6, 0.6, 0, 0), "larger": (1.5, 1.5, 0, 0), "double": (2, 2, 0, 0),
    "large": (2.5, 2.5, 0, 0), "right": (1, 1, 0.3, 0), "left": (1, 1, -0.3, 0), "above": (1, 1, 0, -0.3),
    "head and shoulders": (2.2, 2.1, 0, 0.45),
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained("acdc-w16-fast")


def of_kind(box: np.ndarray, kind: str) -> np.ndarray:
    across, down, right, below = KINDS[kind]
    side = box[2:] - box[:2]
    center = (box[:2] + box[2:]) / 2 + side * (right, below)
    half = side * (across, down) / 2
    return np.concatenate([center - half, center + half])


@pytest.mark.parametrize("kind", KINDS)
def test_a_box_of_another_kind_gives_the_same_points(kind: str, model: Model) -> None:
    wanted = model.align(PHOTO)
    box = of_kind(wanted.boxes[0], kind)
    faces = model.align(PHOTO, boxes=box[None])
    assert np.array_equal(faces.boxes, box[None].astype(np.float32))
    side = float(np.sqrt(np.prod(wanted.boxes[0, 2:] - wanted.boxes[0, :2])))
    for markup, points in wanted.landmarks.items():
        gap = np.linalg.norm(faces.landmarks[markup] - points, axis=-1).mean() / side
        assert gap < 0.03, (markup, gap)
        assert 0.6 < np.median(faces.spread[markup] / wanted.spread[markup]) < 1.6
    assert faces.pose is not None and wanted.pose is not None
    assert abs(faces.pose.yaw - wanted.pose.yaw) < 5 and abs(faces.pose.roll - wanted.pose.roll) < 5


def test_each_face_keeps_its_own(model: Model) -> None:
    """Pictures with fitting and other boxes, mixed, give the results of each box alone."""
    photo = Image.open(PHOTO).convert("RGB")
    wide = Image.new("RGB", (900, 600))
    wide.paste(photo, (0, 0))
    wide.paste(photo.resize((400, 400)), (500, 150))
    first = model.align(photo).boxes[0]
    second = first * 400 / 512 + np.array([500, 150, 500, 150])
    pictures = [wide, photo, photo, wide, photo]
    boxes = [
        [of_kind(first, "double"), second], [first], [of_kind(first, "half"), first], [],
        [first, of_kind(first, "larger"), of_kind(first, "right")],
    ]  # fmt: skip
    together = model.align(pictures, boxes=boxes)
    for picture, given, faces in zip(pictures, boxes, together, strict=True):
        assert len(faces) == len(given)
        for i, box in enumerate(given):
            alone = model.align(picture, boxes=[box])
            for markup in faces.landmarks:
                for field in ("landmarks", "spread", "confidence"):
                    one, other = getattr(faces, field)[markup][i], getattr(alone, field)[markup][0]
                    np.testing.assert_allclose(one, other, atol=2e-3)
            assert faces.pose is not None and alone.pose is not None
            np.testing.assert_allclose(faces.pose.matrix[i], alone.pose.matrix[0], atol=1e-4)
            assert np.array_equal(faces.boxes[i], alone.boxes[0])


def test_a_fitting_box_costs_nothing_and_another_two_cuts_at_most(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = model.align(PHOTO).boxes[0]
    seen: list[int] = []
    run = model._run
    monkeypatch.setattr(model, "_run", lambda crops, *a, **k: (seen.append(len(crops)), run(crops, *a, **k))[1])
    model.align(PHOTO, boxes=box[None])
    assert seen == [1]
    seen.clear()
    model.align(PHOTO, boxes=of_kind(box, "right")[None])
    assert seen[:2] == [1, 1] and len(seen) <= 3
    seen.clear()
    model.align(PHOTO, boxes=of_kind(box, "double")[None])  # lost: other crops are tried in the same batch
    assert seen[:2] == [1, 1 + len(second_look.TRIED)] and len(seen) <= 3 and sum(seen[2:]) <= 1


def reading(side: float, x: float, spread: float) -> Reading:
    """Five points that ask for a crop of this side about x, in the middle of the height; all maps alike."""
    five = np.array([[0.35, 0.4], [0.65, 0.4], [0.5, 0.55], [0.4, 0.7], [0.6, 0.7]])
    asked = second_look.geometry.square_from_points(five[None])[0]
    points = (five - asked[:2]) / asked[2] * side + (x, 0.5)
    covariance = np.zeros((1, 5, 3))
    covariance[..., 0] = spread**2
    seen = Prediction({"2d5": points[None]}, {"2d5": covariance}, None, None)
    return reading_of(seen, {"2d5": slice(0, 5)})


@pytest.mark.parametrize(
    "side, x, spread, count",
    [(1, 0.5, 1, 0), (1.15, 0.5, 1, 0), (1.2, 0.5, 1, 1), (0.8, 0.5, 1, 1), (1, 0.65, 1, 1), (1, 0.5, 2, 5)],
)
def test_which_crops_are_cut_again(side: float, x: float, spread: float, count: int) -> None:
    fit = second_look.Fit(reading(side, x, spread), 1.0)
    assert fit.measure[0] == pytest.approx(spread * max(1, 1 / side))
    squares = np.array([[50.0, 40.0, 100.0, 0.0]])
    again, faces, limits = second_look.new_squares(squares, fit)
    assert len(again) == len(faces) == len(limits) == count
    if count:
        np.testing.assert_allclose(again[0], [100 * x, 40, 100 * side, 0], atol=1e-6)
        assert limits[0] == pytest.approx(fit.measure[0] * (LIMITS.better if spread == 2 else LIMITS.worse))
        assert limits[1:] == pytest.approx(2 * LIMITS.much_better)
        assert len(second_look.new_squares(squares, fit, np.array([0]))[0]) == 1
    assert not len(second_look.new_squares(squares, fit, np.zeros(0, np.int64))[0])


@pytest.mark.parametrize(
    "side, x, spread, count", [(1.02, 0.5, 1, 0), (1.05, 0.5, 1, 1), (0.95, 0.5, 1, 1), (1, 0.54, 1, 1), (1, 0.5, 2, 1)]
)
def test_a_crop_that_was_cut_is_brought_to_its_place(side: float, x: float, spread: float, count: int) -> None:
    """One that was not is left alone as long as it fits."""
    fit = second_look.Fit(reading(side, x, spread), 1.0)
    squares = np.array([[50.0, 40.0, 100.0, 0.0]])
    again, faces, _ = second_look.new_squares(squares, fit, np.array([0]))
    assert len(again) == len(faces) == count and (spread == 2 or not len(second_look.new_squares(squares, fit)[0]))
    if count:
        np.testing.assert_allclose(again[0], [100 * x, 40, 100 * side, 0], atol=1e-6)


@pytest.mark.parametrize("kind", ["smaller", "larger", "right", "left", "head and shoulders"])
def test_the_last_crop_is_the_same_whatever_the_box_was(kind: str, model: Model) -> None:
    """Where the points would have it: so the pose is nearly the same too."""
    box = np.array([178.0, 63.0, 267.0, 174.0])
    picture, reader = load_picture(PHOTO), model.reader

    def read(kind: str) -> tuple[np.ndarray, Reading]:
        squares, last = reader.read(Squares.listed([picture], [square_from_box(of_kind(box, kind))]))
        return squares.values, last

    (squares, last), (other, usual) = read(kind), read("large")
    assert second_look.Fit(last, reader.usual_spread, reader.limits).settled.all()
    assert np.abs(squares - other)[:, :3].max() < 0.03 * other[0, 2]
    assert np.abs(last.pose - usual.pose).max() < 2.5


def test_a_new_crop_that_is_much_worse_is_not_taken() -> None:
    """The crop that trusted points ask for may have somewhat wider maps, not much wider ones."""
    shifted, squares = reading(1, 0.7, 1), np.array([[50.0, 40.0, 100.0, 0.0]])
    fit = second_look.Fit(shifted, 1.0)
    _, faces, limits = second_look.new_squares(squares, fit)
    for spread, taken in ((1.2, 1), (1.4, 0)):
        assert len(second_look.chosen(second_look.Fit(reading(1, 0.5, spread), 1.0), faces, limits)[0]) == taken


def test_the_best_new_crop_is_chosen_and_a_worse_one_is_not() -> None:
    again = second_look.Fit(reading(1, 0.5, 1), 1.0)
    faces, limits = np.array([0, 0, 2, 2, 2]), np.array([1.9, 1.4, 2.85, 2.1, 2.1])
    for measures, face, best in (([1.95, 1.5, 2.5, 1.4, 1.2], 2, 4), ([1.8, 1.3, 2.99, 2.2, 2.2], 0, 1)):
        again.measure = np.array(measures)
        to, source = second_look.chosen(again, faces, limits)
        assert to.tolist() == [face] and source.tolist() == [best]


def test_of_crops_that_are_tried_none_is_believed_whose_maps_are_wide() -> None:
    """However wide they were before: so are those of a profile, whose own crop was right."""
    fit = second_look.Fit(reading(1, 0.5, 9), 1.0)
    _, faces, limits = second_look.new_squares(np.array([[50.0, 40.0, 100.0, 0.0]]), fit)
    for spread, taken in ((LIMITS.seen + 0.1, 0), (LIMITS.seen - 0.1, 1)):
        again = second_look.Fit(reading(1, 0.5, spread), 1.0)
        assert len(second_look.chosen(again, faces[1:2], limits[1:2])[0]) == taken
        assert len(second_look.chosen(again, faces[:1], limits[:1])[0]) == 1  # what its own points ask for


def test_the_weights_say_when_a_crop_is_cut_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every limit of the card reaches the crops; files without any have the usual ones."""
    weights = Model.from_pretrained("acdc-w16-fast").weights
    assert second_look.limits_of({}, "w") == LIMITS

    def cuts(box: np.ndarray, **limits: float) -> list[int]:
        model = Model(replace(weights, card={**weights.card, "second_look": json.dumps(limits)}))
        seen: list[int] = []
        run = model._run
        monkeypatch.setattr(model, "_run", lambda crops, *a, **k: (seen.append(len(crops)), run(crops, *a, **k))[1])
        model.align(PHOTO, boxes=box[None])
        return seen

    box = np.array([178.0, 63.0, 267.0, 174.0])
    larger, right = of_kind(box, "larger"), of_kind(box, "right")
    middle = (box[:2] + box[2:]) / 2
    smaller = np.concatenate([middle + 0.75 * (box[:2] - middle), middle + 0.75 * (box[2:] - middle)])
    assert len(cuts(larger)) > 1 and len(cuts(smaller)) > 1 and len(cuts(right)) > 1
    assert len(cuts(larger, smaller=0.3, away=1)) == 1 and len(cuts(smaller, larger=4, away=1, lost=10)) == 1
    assert len(cuts(right, away=1, smaller=0.1, larger=10)) == 1
    assert cuts(box, lost=1, larger=1, away=0.01, better=0, much_better=0)[1:]

    for limits, told in (
        ('{"smaller": 1.5}', "smaller must be a number from 0.1 to 1"),
        ('{"lost": NaN}', "lost must be"),
        ('{"away": true}', "away must be"),
        ('{"nearer": 1}', "knows no 'nearer'"),
        ("[1]", "must hold numbers by name"),
        ("{" * 900, "must hold numbers by name"),
    ):
        with pytest.raises(InputError, match=told):
            Model(replace(weights, card={**weights.card, "second_look": limits}))


def test_the_weights_say_what_is_better() -> None:
    fit = second_look.Fit(reading(1, 0.5, 2), 1.0, second_look.Limits(better=0.5, much_better=0.25))
    _, _, limits = second_look.new_squares(np.array([[50.0, 40.0, 100.0, 0.0]]), fit)
    assert limits.tolist() == [1, 0.5, 0.5, 0.5, 0.5]
    fit = second_look.Fit(reading(1, 0.5, 2), 1.0, second_look.Limits(seen=0.1))
    assert second_look.new_squares(np.array([[50.0, 40.0, 100.0, 0.0]]), fit)[2][1:].tolist() == [0.1] * 4
