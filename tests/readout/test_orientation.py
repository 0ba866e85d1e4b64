"""What tells that a face is not upright: its terms, its doubt, and which turn is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import PHOTO
from helpers.small import small_weights

from acdc_fast import Model
from acdc_fast.alignment import Reader, Squares
from acdc_fast.errors import InputError
from acdc_fast.photo.images import load_picture
from acdc_fast.readout.orientation import (
    BELIEVED,
    BETTER,
    GAIN,
    RECUT,
    SURE,
    WIDE,
    Judge,
    Upright,
    best_turn,
    terms,
    turned_squares,
)
from acdc_fast.readout.reading import Reading, reading_of
from acdc_fast.types import Prediction
from acdc_fast.weights import Weights, load_weights, save_weights

SLICES = {"2d5": slice(0, 5), "2d68": slice(5, 73)}
POINTS = 5 + 68
RNG = np.random.default_rng(3)
LANDMARKS = {"2d68": RNG.random((4, 68, 2)), "2d5": RNG.random((4, 5, 2))}


def seen(spread: list[float], narrow: float = 1.0) -> Reading:
    """A face for each spread (the 68 maps' in crop units; the five are ``narrow`` times as wide)."""
    count = len(spread)
    wide = {"2d68": np.array(spread)[:, None] * np.ones(68), "2d5": narrow * np.array(spread)[:, None] * np.ones(5)}
    covariance = {m: np.stack([s**2, 0 * s, 0 * s], 2) for m, s in wide.items()}
    points = {m: np.broadcast_to(p[:1], (count, *p.shape[1:])) + 0.0 for m, p in LANDMARKS.items()}
    return reading_of(Prediction(points, covariance, np.arange(3.0 * count).reshape(count, 3), None), SLICES)


def by_spread(slope: float, at: float) -> Upright:
    """Log odds that fall with the logarithm of the 68 maps' mean width by ``slope``, and are 0 ``at`` this spread."""
    points = np.concatenate([LANDMARKS[markup][0] for markup in SLICES])
    size = np.sqrt(((points - points.mean(0)) ** 2).mean())
    factors = np.concatenate([np.zeros(5), np.full(68, -slope / 68)])
    return Upright(np.concatenate([[slope * np.log(at / size)], factors]))


def test_terms_are_widths_in_sizes_of_the_face() -> None:
    """By hand, in the config's order, whatever the unit and the place."""
    spread = RNG.uniform(0.01, 0.1, (4, POINTS))
    together = np.concatenate([LANDMARKS["2d5"], LANDMARKS["2d68"]], 1)
    found = terms(together, spread)
    size = np.sqrt(((together - together.mean(1, keepdims=True)) ** 2).mean((1, 2)))
    assert found.shape == (4, 1 + POINTS) and (found[:, 0] == 1).all()
    assert found[:, 1:] == pytest.approx(np.log(spread / size[:, None]), rel=1e-6)
    assert terms(150 * together + 40, 150 * spread) == pytest.approx(found, abs=1e-6)
    assert np.isfinite(terms(together, 0 * spread)).all()  # maps of one pixel


def test_doubt_by_either_rule() -> None:
    prediction = seen([0.01, 0.02, 0.04], narrow=0.5)  # the five are narrower
    narrow = Judge(0.01, None)
    assert narrow.doubt(prediction) == pytest.approx(np.log(np.array([0.5, 1, 2]) / WIDE), abs=1e-6)
    fitted = Judge(0.01, by_spread(3.0, at=0.02))
    assert fitted.doubt(prediction) == pytest.approx(SURE + 3 * np.log([0.5, 1, 2]), abs=1e-6)
    for upright in (None, by_spread(3.0, at=0.02)):  # no usual spread: nothing is doubted
        assert (Judge(np.inf, upright).doubt(prediction) == -np.inf).all()


@pytest.mark.parametrize("rule", ["narrowest maps", "fitted"])
def test_the_turn_of_least_doubt_is_taken_if_it_gains_enough(rule: str) -> None:
    """Faces 1 and 3 of four are looked at. A half turn helps face 3; the best turn of face 1 helps too little."""
    upright, enough = (None, BETTER) if rule == "narrowest maps" else (by_spread(3.0, 0.06), np.exp(-GAIN / 3))
    judge, before = Judge(0.01, upright), seen([0.01, 0.03, 0.011, 0.06])
    squares = np.array([[10.0 * k, 20, 50 + k, 0] for k in range(4)])
    faces = np.array([1, 3])
    turned = turned_squares(squares[faces])
    again = seen([0.04, 0.05, 0.03 * enough * 1.01, 0.07, 0.06 * enough * 0.99, 0.06 * enough])

    def taken(again: Reading) -> tuple[np.ndarray, Reading]:
        better = judge.better(judge.doubt(before)[faces, None], judge.doubt(again).reshape(2, 3))
        return best_turn(squares, before, faces, turned, again, better)

    found, reading = taken(again)
    assert found[:3].tolist() == squares[:3].tolist() and found[3].tolist() == [30, 20, 53, 180]
    assert reading.spread[:, 5] == pytest.approx([0.01, 0.03, 0.011, 0.06 * enough * 0.99])
    assert reading.pose is not None and reading.pose[:3].tolist() == np.asarray(before.pose)[:3].tolist()
    better = seen([0.04, 0.05, 0.03 * enough * 0.98, 0.07, 0.06, 0.06 * enough * 0.9])
    assert taken(better)[0][:, 3].tolist() == [0, 270, 0, 270]


def test_a_turn_that_looks_strange_is_not_believed() -> None:
    """As of a profile, which looks strange in every turn."""
    judge = Judge(0.01, by_spread(3.0, at=0.02))
    in_turns = np.array([[BELIEVED + 0.1, BELIEVED + 9, 30], [BELIEVED - 0.1, BELIEVED + 9, 30]])
    assert (judge.better(np.array([[50.0], [50.0]]), in_turns) > 0).tolist() == [[False] * 3, [True, False, False]]
    assert judge.better(np.array([[2.0]]), 2 - GAIN + np.array([[-0.1, 0.1]])).round(6).tolist() == [[0.1, -0.1]]


def test_a_file_keeps_it_and_is_checked(tmp_path: Path) -> None:
    weights, path = small_weights(), tmp_path / "w.safetensors"
    save_weights(path, weights)
    assert load_weights(path).upright is None
    count = 1 + sum(weights.config.points.values())
    for half in (False, True):
        save_weights(path, replace(weights, upright=Upright(np.linspace(-1, 1, count))), half)
        back = load_weights(path).upright
        assert back is not None and np.array_equal(back.numbers, np.linspace(-1, 1, count).astype(np.float32))
    for numbers, word in (
        (np.zeros(count - 1), "shape"),
        (np.full(count, np.nan), "not finite"),
        (np.ones(0), "shape"),
    ):
        save_weights(path, replace(weights, upright=Upright(numbers)))
        with pytest.raises(InputError, match=rf"w\.safetensors: upright\.numbers .*{word}"):
            load_weights(path)


def crops_run(model: Model, monkeypatch: pytest.MonkeyPatch) -> int:
    """Crops that the network sees for the one face of a photograph."""
    count, run = [0], model._run
    monkeypatch.setattr(model, "_run", lambda crops, *a, **k: (count.append(len(crops)), run(crops, *a, **k))[1])
    assert len(model.align(PHOTO, boxes=[[178, 62, 267, 174]])) == 1
    return sum(count)


def with_constant(weights: Weights, odds: float) -> Weights:
    numbers = np.zeros(1 + sum(weights.config.points.values()))
    numbers[0] = odds
    return replace(weights, upright=Upright(numbers))


def test_the_whole_network_is_judged_by_it_and_fewer_stages_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Odds that never change: below 0 three turns are looked at and none is taken, above 0 none is looked at."""
    weights = Model.from_pretrained("acdc-w16-phone").weights
    doubted, sure = with_constant(weights, -5.0), with_constant(weights, 5.0)
    assert crops_run(Model(sure), monkeypatch) == 1 and crops_run(Model(doubted), monkeypatch) == 4
    plain, same = (Model(w).align(PHOTO, boxes=[[178, 62, 267, 174]]) for w in (sure, doubted))
    assert np.array_equal(plain.landmarks["2d68"], same.landmarks["2d68"])
    assert crops_run(Model(doubted, stages=1), monkeypatch) == 1
    assert crops_run(Model(doubted, stages="auto"), monkeypatch) == 1


@pytest.mark.parametrize(("recut", "turned"), [(0.012, True), (0.008, False)])
def test_a_face_whose_second_crop_looks_upright_is_turned_if_it_does_so_barely(recut: float, turned: bool) -> None:
    """An upside-down face: its crop is doubted and cut again, and the new crop is doubted no more."""
    upright = by_spread(3.0, at=0.0538)
    given = Squares.listed([load_picture(PHOTO)], [np.array([[200.0, 120, 100, 0]])])

    class Scripted(Reader):
        def seen(self, squares: Squares) -> Reading:
            first, half = (squares.values == given.values).all(1), squares.values[:, 3] % 360 == 180
            sideways = squares.values[:, 3] % 180 == 90
            return seen(np.select([first, half, sideways], [0.03, 0.004, 0.05], recut).tolist())

    weights = small_weights(stages=1)
    reader = Scripted(weights, lambda crops: None, 64, 0.01, upright=upright)  # type: ignore[arg-type, return-value]
    before = reader.seen(given)
    _, again = reader._second_look(given, before)
    doubts = [Judge(0.01, upright).doubt(r)[0] for r in (before, again)]
    assert doubts[0] > 0 > doubts[1] and (doubts[1] > -RECUT) == turned
    squares, reading = reader.read(given)
    assert squares.values[0, 3] == (180 if turned else 0)
    assert reading.narrowest[0] == pytest.approx(0.004 if turned else recut, rel=1e-5)


def test_only_a_crop_that_was_cut_again_is_asked_of_earlier() -> None:
    doubt, recut = np.array([0.1, -0.1, -RECUT + 0.1, -RECUT - 0.1] * 2), np.repeat([True, False], 4)
    asked = Judge(0.01, by_spread(3.0, at=0.02)).asks(doubt, recut)
    assert asked.tolist() == [True, True, True, False, True, False, False, False]
    assert Judge(0.01, None).asks(doubt, recut).tolist() == [True, False, False, False] * 2
