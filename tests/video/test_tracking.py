"""Tracking on scripted scenes, where it is known which face is which."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.scripted import Person, Scene, still

from acdc_fast import InputError
from acdc_fast.photo.detection import Search
from acdc_fast.photo.images import Picture
from acdc_fast.types import Faces
from acdc_fast.video import tracking


def test_the_middle_one_of_three_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    middle = Person(1, still(160, until=5), lambda f: 0.9)
    people = [Person(0, still(60)), middle, Person(2, still(260), lambda f: 0.85)]
    told = Scene(people, monkeypatch).play(12)
    assert told[:5] == [{0: 0, 1: 1, 2: 2}] * 5 and told[5:] == [{0: 0, 2: 2}] * 7


@pytest.mark.parametrize("every", [1, 5, 10])
@pytest.mark.parametrize("speed", [3.0, 6.0])
def test_two_cross(monkeypatch: pytest.MonkeyPatch, every: int, speed: float) -> None:
    """The one in front hides the other where they meet."""
    people = [
        Person(0, lambda f: (60 + speed * f, 120)),
        Person(1, lambda f: (240 - speed * f, 120)),
        Person(2, still(160, 200)),
    ]
    hidden = people[1]
    hidden.detected = lambda f: abs(people[0].at(f)[0] - hidden.at(f)[0]) > 25
    told = Scene(people, monkeypatch, every=every).play(int(180 / speed))
    assert told[0] == told[-1] == {0: 0, 1: 1, 2: 2}
    assert all(t[person] == person for t in told for person in t), "a number changed hands"


def test_miss_hit_miss_of_the_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two misses, a hit, two misses: the face stays. After three misses in a row the maps alone do not keep it."""
    seen = {0, 3, 6}
    scene = Scene([Person(0, still(100), detected=lambda f: f in seen), Person(1, still(220))], monkeypatch, every=1)
    assert scene.play(10) == [{0: 0, 1: 1}] * 9 + [{1: 1}]
    seen |= {11}
    assert scene.play(2) == [{1: 1}, {0: 0, 1: 1}], "found again within a second: its own number"


def test_after_a_miss_the_detector_looks_on_each_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene([Person(0, still(100), detected=lambda f: f < 5)], monkeypatch, every=10)
    told = scene.play(16)
    assert [len(t) for t in told] == [1] * 12 + [0] * 4, "frames 10, 11, 12 look in vain"


def test_doubt_asks_the_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below `SURE` it is asked in that frame. Its word counts down to `UNLIKELY`, the maps' alone from `LIKELY` on."""
    chance = {3: 0.3, 4: 0.3, 5: 0.01, 7: 0.6}
    absent = {4, 7}
    person = Person(0, still(100), lambda f: chance.get(f, 0.95), lambda f: f not in absent)
    scene = Scene([person, Person(1, still(220))], monkeypatch, every=100)
    told, looks = [], []
    for _ in range(10):
        told.append(scene.step())
        looks.append(scene.looks)
    both, one = {0: 0, 1: 1}, {1: 1}
    assert told == [both, both, both, both, one, one, both, both, both, both]
    assert looks[:4] == [1, 2, 3, 4], "a new face is looked for in its first three frames"


@pytest.mark.parametrize("detected", [True, False])
@pytest.mark.parametrize("score", [0.6, 0.95])
def test_points_in_doubt_that_jump_do_not_take_the_face_along(
    score: float, detected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One frame of wrong points among 30. In the next, the face is looked for where it was; if the maps were sure of
    the jump, it is looked for there."""
    person = Person(0, lambda f: (100 + f, 120), lambda f: score if f == 15 else 0.95)
    person.detected = lambda f: detected or f != 15
    scene, asked = Scene([person], monkeypatch, every=100), {}

    def align(picture: Picture, boxes: np.ndarray) -> Faces:
        faces, asked[scene.frame] = Scene.align(scene, picture, boxes), np.array(boxes)
        wrong = np.float32(30 if scene.frame == 15 else 0)
        return replace(faces, landmarks={"2d5": faces.landmarks["2d5"] + wrong})

    monkeypatch.setattr(scene, "align", align)
    for scene.frame in range(30):
        scene.tracker.step(np.full((240, 320, 3), 128, np.uint8))
    middle = {f: (boxes[0, :2] + boxes[0, 2:]) / 2 for f, boxes in asked.items()}
    away = {f: 2 * float(np.abs(at - (100 + f, 120)).max()) for f, at in middle.items()}
    assert max(away[f] for f in (14, 15)) < 8
    assert away[16] < 8 if score == 0.6 else away[16] > 40


def test_two_tracks_on_one_face(monkeypatch: pytest.MonkeyPatch) -> None:
    """A face walks onto another and stays there: one number for the one that is seen, its own."""
    people = [Person(0, still(160)), Person(1, lambda f: (min(160, 60 + 5 * f), 120), detected=lambda f: f < 14)]
    told = Scene(people, monkeypatch, every=3).play(30)
    assert told[0] == {0: 0, 1: 1} and told[-1] == {0: 0}
    assert all(t[person] == person for t in told for person in t)


def test_of_two_tracks_on_one_face_the_right_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who came later walks in front of the other: its own number stays, not the older one."""
    walker = Person(0, lambda f: None if f < 3 else (min(160, 30 + 5 * f), 120))
    told = Scene([walker, Person(1, still(160), detected=lambda f: f < 27)], monkeypatch, every=3).play(36)
    assert told[6] == {0: 1, 1: 0} and told[-1] == {0: 1}
    assert all(t[person] == 1 - person for t in told for person in t), "a number changed hands"


def test_a_face_that_is_found_twice_keeps_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene([Person(0, still(160))], monkeypatch, every=1)

    def twice(rgb: np.ndarray, *search: object) -> tuple[np.ndarray, np.ndarray]:
        boxes, scores = scene.detect(rgb, *search)
        moved = boxes + 12 if scene.frame >= 3 else boxes[:0]
        return np.concatenate([moved, boxes]), np.concatenate([scores[: len(moved)], scores])

    monkeypatch.setattr(tracking, "detect", twice)
    assert scene.play(8) == [{0: 0}] * 8


def test_absent_for_less_than_a_second_and_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for gone, name in ((20, 0), (40, 2)):
        people = [Person(0, still(100, until=5, again=5 + gone)), Person(1, still(240))]
        told = Scene(people, monkeypatch, every=10, absent=25).play(gone + 12)
        assert all(t == {1: 1} for t in told[5 : 5 + gone]) and told[-1] == {0: name, 1: 1}


def test_a_stranger_gets_a_new_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new face in the place of one who left, with another look."""
    people = [Person(0, still(100, until=5)), Person(1, lambda f: (100, 120) if f >= 9 else None)]
    told = Scene(people, monkeypatch, every=1).play(14)
    assert told[4] == {0: 0} and told[8] == {} and told[-1] == {1: 1}


def test_no_more_faces_than_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """``max_faces``: the face that is followed stays when a larger one comes; of two that come at once, the larger."""
    told = []
    people = [
        Person(0, lambda frame: (60.0, 120.0)),
        Person(1, lambda frame: (220.0, 120.0) if frame > 5 else None, side=70.0),
    ]
    scene = Scene(people, monkeypatch, every=2, search=Search(max_faces=1, min_score=0.3))
    real = scene.detect

    def largest_first(rgb: np.ndarray, search: Search) -> tuple[np.ndarray, np.ndarray]:
        told.append(search)
        boxes, scores = real(rgb, search)
        order = np.argsort(-(boxes[:, 2] - boxes[:, 0]))
        return boxes[order], scores[order]

    monkeypatch.setattr(tracking, "detect", largest_first)
    assert all(scene.step() == {0: 0} for _ in range(20))
    assert told and all(each == Search(min_score=0.3) for each in told)
    people[1] = replace(people[1], at=lambda frame: (220.0, 120.0))
    both = Scene(people, monkeypatch, search=Search(max_faces=1))
    real = both.detect
    monkeypatch.setattr(tracking, "detect", largest_first)
    assert all(set(both.step()) == {1} for _ in range(8))


def test_bad_options(monkeypatch: pytest.MonkeyPatch) -> None:
    for options in ({"every": 0}, {"absent": -1}):
        with pytest.raises(InputError, match="at least"):
            Scene([], monkeypatch, **options)


def test_a_new_face_is_looked_at_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the one who was missed when the film began is found in the next frame; then on each tenth alone."""
    people = [Person(0, still(100)), Person(1, still(220), detected=lambda f: f > 0)]
    scene = Scene(people, monkeypatch, every=10)
    told, looks = [], []
    for _ in range(12):
        told.append(scene.step())
        looks.append(scene.looks)
    assert told == [{0: 0}] + [{0: 0, 1: 1}] * 11
    assert looks == [1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 5, 5]


@pytest.mark.parametrize("seen", [{4}, {4, 6}, {4, 5}])
def test_a_new_face_that_the_maps_doubt_must_be_found_twice(seen: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """In two frames that follow each other. A face that was given out goes on after one."""
    doubted = Person(1, still(220), lambda f: 0.3, lambda f: f in seen)
    told = Scene([Person(0, still(100)), doubted], monkeypatch, every=1).play(10)
    assert [f for f, t in enumerate(told) if 1 in t] == ([5] if seen == {4, 5} else [])
    detected = range(4, 10)
    doubted.detected, doubted.chance = lambda f: f in detected, lambda f: 0.9 if f == 5 else 0.3
    told = Scene([Person(0, still(100)), doubted], monkeypatch, every=1).play(10)
    assert [f for f, t in enumerate(told) if 1 in t] == [5, 6, 7, 8, 9]


def test_doubted_new_faces_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """``max_faces``: a false box that is seen once keeps no place from the face that comes then."""
    false = Person(0, still(60, until=2), lambda f: 0.1)
    person = Person(1, lambda f: (220.0, 120.0) if f >= 2 else None)
    false.detected = lambda f: f == 1
    told = Scene([false, person], monkeypatch, every=1, search=Search(max_faces=1)).play(5)
    assert [set(t) for t in told] == [set(), set(), {1}, {1}, {1}]


def test_an_absent_twin_does_not_take_a_face_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a face has got a new number, as it can happen, its old one may lie in wait in the same place."""
    scene = Scene([Person(0, lambda f: (160 + f % 2, 120))], monkeypatch, every=1)
    assert scene.play(5) == [{0: 0}] * 5
    scene.tracker._tracks.insert(0, replace(scene.tracker._tracks[0], name=7, absent=1))
    assert scene.play(20) == [{0: 0}] * 20
