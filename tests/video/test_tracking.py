"""Tracking on scripted scenes, where it is known which face is which; and no ghosts with the weights of the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from helpers.paths import PHOTO
from PIL import Image

from acdc_fast import Camera, InputError, Model
from acdc_fast.photo.detection import Search
from acdc_fast.photo.images import Picture
from acdc_fast.types import Faces, HeadPose
from acdc_fast.video import tracking
from acdc_fast.video.cuts import CutFinder
from acdc_fast.video.tracking import Tracker
from acdc_fast.weights import bundled

FIVE = np.array([[-0.2, -0.15], [0.2, -0.15], [0, 0.05], [-0.15, 0.3], [0.15, 0.3]])
COLOURS = np.array([[220, 60, 60], [60, 200, 60], [70, 70, 230]])


@dataclass
class Person:
    """One face of a scene: where its middle is in each frame (None: not there), what the maps and the detector say."""

    number: int
    at: Callable[[int], tuple[float, float] | None]
    chance: Callable[[int], float] = lambda frame: 0.95
    detected: Callable[[int], bool] = lambda frame: True
    side: float = 40.0

    def box(self, frame: int) -> np.ndarray | None:
        middle = self.at(frame)
        return None if middle is None else np.array([*middle, *middle]) + self.side / 2 * np.array([-1, -1.2, 1, 1.2])


class Scene:
    """Paints the people as coloured cards, the first in front. Acts as detector and model for a tracker."""

    def __init__(self, people: Sequence[Person], monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.people, self.frame, self.looks = people, -1, 0
        monkeypatch.setattr(tracking, "detect", self.detect)
        self.tracker = Tracker(self, **options)  # type: ignore[arg-type]

    def step(self) -> dict[int, int]:
        """The number of each returned face, by the person whom its landmarks, score, pose and box belong to."""
        self.frame += 1
        rgb = np.full((240, 320, 3), 128, np.uint8)
        rgb[::8], rgb[:, ::8] = 90, 160
        for person in reversed(self.people):
            box = person.box(self.frame)
            if box is not None:
                x0, y0, x1, y1 = box.round().astype(int).clip(0).tolist()
                rgb[y0:y1, x0:x1] = COLOURS[person.number]
        faces = self.tracker.step(rgb)
        assert len(faces.ids) == len(faces) == len(set(faces.ids.tolist()))
        told = {}
        for face, name in zip(faces, faces.ids.tolist(), strict=True):
            number = round(float(face.pose.yaw[0]) / 10)
            person = self.people[number]
            x, y = person.at(self.frame)
            assert np.allclose(face.landmarks["2d5"][0].mean(0), [x, y + 0.07 * person.side], atol=0.5)
            assert face.scores[0] == np.float32(person.chance(self.frame)) and face.spread["2d5"][0, 0] == number
            assert face.boxes[0, 0] < x < face.boxes[0, 2] and number not in told
            told[number] = name
        return told

    def play(self, frames: int) -> list[dict[int, int]]:
        return [self.step() for _ in range(frames)]

    def detect(self, rgb: np.ndarray, search: Search) -> tuple[np.ndarray, np.ndarray]:
        self.looks += 1
        boxes = [b for p in self.people if p.detected(self.frame) and (b := p.box(self.frame)) is not None]
        return np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.5, np.float32)

    def align(self, picture: Picture, boxes: np.ndarray) -> Faces:
        """The nearest person within half a box's side, those in front first; nobody: no face, in the box's middle."""
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        points, numbers = np.zeros((len(boxes), 5, 2), np.float32), np.full(len(boxes), -1)
        for i, box in enumerate(boxes):
            middle, side = (box[:2] + box[2:]) / 2, 40.0
            near = [
                (np.linalg.norm(np.subtract(p.at(self.frame), middle)) + 0.1 * k, p)
                for k, p in enumerate(self.people) if p.at(self.frame) is not None
            ]  # fmt: skip
            if near and min(near, key=lambda n: n[0])[0] < 20:
                person = min(near, key=lambda n: n[0])[1]
                middle, side, numbers[i] = np.array(person.at(self.frame)), person.side, person.number
            points[i] = middle + side * FIVE
        pose = HeadPose(*(numbers.astype(np.float32) * k for k in (10, 1, 1)), np.tile(np.eye(3), (len(boxes), 1, 1)))
        flat = {"2d5": np.repeat(numbers[:, None], 5, 1).astype(np.float32)}
        chance = np.array([0.0 if n < 0 else self.people[n].chance(self.frame) for n in numbers], np.float32)
        return Faces(boxes, chance, {"2d5": points}, flat, flat, pose)


def still(
    x: float, y: float = 120, until: float = np.inf, again: float = np.inf
) -> Callable[[int], tuple[float, float] | None]:
    return lambda frame: (x, y) if frame < until or frame >= again else None


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
    assert looks[:4] == [1, 1, 1, 2]


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


def portrait() -> np.ndarray:
    """(240, 320, 3) around a face, and room beside it."""
    return np.asarray(Image.open(PHOTO).convert("RGB").crop((100, 20, 420, 260)))


def scenes() -> dict[str, np.ndarray]:
    suit = np.asarray(Image.open(PHOTO).convert("RGB").crop((100, 272, 420, 512)))
    ramp = np.broadcast_to(np.linspace(0, 255, 320)[None, :, None], (240, 320, 3)).astype(np.uint8)
    return {
        "black": np.zeros((240, 320, 3), np.uint8),
        "green": np.full((240, 320, 3), (90, 120, 90), np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8),
        "gradient": ramp,
        "suit": suit,
    }


class Remembering:
    """A model that computes what it is asked for the first time: most frames of these films are alike."""

    def __init__(self, model: Model) -> None:
        self.model, self.known = model, dict[bytes, Faces]()

    def align(self, picture: Picture, boxes: np.ndarray) -> Faces:
        key = picture.rgb.tobytes() + np.asarray(boxes).tobytes()
        if key not in self.known:
            self.known[key] = self.model.align(picture, boxes=boxes)
        return self.known[key]


FOUND: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}  # by picture, whatever the weights


@pytest.mark.parametrize("weights", list(bundled()))
def test_no_ghosts(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ghost after a cut; none after three frames if something covers the face or the picture fades."""
    detect = tracking.detect

    def found(rgb: np.ndarray, *search: object) -> tuple[np.ndarray, np.ndarray]:
        key = rgb.tobytes() + repr(search).encode()
        if key not in FOUND:
            FOUND[key] = detect(rgb, *search)  # type: ignore[arg-type]
        return FOUND[key]

    monkeypatch.setattr(tracking, "detect", found)
    model, face = Model.from_pretrained(weights), portrait()
    remembering = Remembering(model)
    assert "presence" in model.weights.card, "acdc-fast evaluate WEIGHTS --presence OUT finds and writes it"
    x0, y0, x1, y1 = model.align(face).boxes[0].astype(int).clip(0)
    for name, scene in scenes().items():
        card, part = face.copy(), (slice(max(0, y0 - 30), y1 + 20), slice(max(0, x0 - 30), x1 + 30))
        card[part] = scene[part]
        fade = [(face * (1 - t) + scene * t).astype(np.uint8) for t in np.linspace(0.1, 1, 10)]
        for kind, film, allowed in (("cut", [], 0), ("card", [], 3), ("fade", fade, 3)):
            tracker = Tracker(remembering)
            for _ in range(4):
                faces = tracker.step(face)
                assert len(faces) == 1 and faces.scores[0] > 0.9 and faces.ids.tolist() == [0]
            for frame in film:
                tracker.step(frame)
            counts = [len(tracker.step(card if kind == "card" else scene)) for _ in range(12)]
            assert sum(counts) <= allowed and not any(counts[3:]), (kind, name, counts)
            assert len(tracker.step(face)) == 1


@pytest.mark.parametrize("weights", ["acdc-w16-fast"])
def test_scores_are_of_this_frame(weights: str) -> None:
    model, face = Model.from_pretrained(weights), portrait()
    tracker = Tracker(model, every=100)
    clear = tracker.step(face).scores[0]
    rough = Image.fromarray(face).resize((64, 48), Image.Resampling.BOX).resize((320, 240), Image.Resampling.NEAREST)
    blurred = tracker.step(np.asarray(rough))
    assert len(blurred) == 1 and blurred.scores[0] < clear
    assert tracker.step(face).scores[0] == pytest.approx(clear, abs=0.02)


def test_a_cut_is_no_fast_camera() -> None:
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))
    for step in (2, 10, 20):  # a pan, up to 6 % of the width a frame
        finder = CutFinder()
        assert not any(finder.step(photo[100:340, i : i + 320]) for i in range(0, 180, step))
    finder = CutFinder()
    assert not any(finder.step((photo * g).astype(np.uint8)) for g in (1, 0.7, 1, 0.6, 0.9)), "a flickering lamp"
    finder = CutFinder()
    assert [finder.step(s) for s in scenes().values()] == [False, True, True, True, True]
    assert [finder.step(s) for s in (portrait(), portrait(), portrait()[:, ::-1])] == [True, False, True]


@pytest.mark.parametrize(("times", "cut"), [(2.0, False), (4.0, True)])
def test_a_cut_is_sudden(times: float, cut: bool) -> None:
    """While the light changes a lot from frame to frame a shot ends only where more changes than three times that."""
    rng = np.random.default_rng(0)
    blocks = rng.uniform(0.3, 0.7, (9, 16))
    other = rng.permutation(blocks.ravel()).reshape(9, 16)
    usual = float(np.abs(blocks - other).mean()) / times

    def frame(brightness: np.ndarray) -> np.ndarray:
        return np.kron(brightness * 255, np.ones((20, 20)))[..., None].repeat(3, 2).round().astype(np.uint8)

    finder = CutFinder()
    assert not any(finder.step(frame(blocks + usual * (i % 2))) for i in range(9))
    assert finder.step(frame(other)) == cut


def test_model_track(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Model.track` gives the tracker's faces, smooth or exact, frame by frame as the frames come."""
    model, face = Model.from_pretrained("acdc-w16-fast"), portrait()
    rng = np.random.default_rng(0)
    film = [np.clip(face + rng.normal(0, 12, face.shape), 0, 255).astype(np.uint8) for _ in range(8)]
    asked: list[int] = []
    frames = (asked.append(i) or frame for i, frame in enumerate(film))  # type: ignore[func-returns-value]
    stream = model.track(frames, smooth=False)
    first = next(stream)
    assert asked == [0], "a camera's frames are not asked for before their time"
    exact, tracker = [first, *stream], Tracker(model)
    assert exact == [tracker.step(frame) for frame in film] and all(f.ids.tolist() == [0] for f in exact)
    steady = list(model.track(film))
    jitter = [np.abs(np.diff([f.landmarks["2d68"][0] for f in seen], axis=0)).mean() for seen in (exact, steady)]
    assert jitter[1] < 0.5 * jitter[0]
    with pytest.raises(InputError, match="at least 1"):
        model.track(film, every=0)


@pytest.mark.parametrize("columns", [(0.0, 0.7), (0.4, 1.0)])
def test_a_covered_face_in_one_frame_does_not_move_the_steadied_points(columns: tuple[float, float]) -> None:
    """One of 16 frames shows a card before most of the face. Its points jump by a fifth of the face's side, with a
    score of 0.1 to 0.3. The steadied ones stay, and the next frame is as if nothing had been."""
    model, face, rng = Model.from_pretrained("acdc-w16-fast"), portrait(), np.random.default_rng(0)
    film = [np.clip(face + rng.normal(0, 3, face.shape), 0, 255).astype(np.uint8) for _ in range(16)]
    clear = np.mean([f.landmarks["2d68"][0] for f in model.track(film, smooth=False)], 0)
    x0, y0, x1, y1 = model.align(face).boxes[0].astype(int)
    left, right = (x0 + int(part * (x1 - x0)) for part in columns)
    film[10][y0:y1, left:right] = 120
    side = float(np.sqrt((x1 - x0) * (y1 - y0)))
    away = {}
    for smooth in (False, True):
        seen = list(model.track(film, smooth=smooth))
        assert [f.ids.tolist() for f in seen] == [[0]] * 16
        away[smooth] = np.array([np.linalg.norm(f.landmarks["2d68"][0] - clear, axis=1).mean() for f in seen]) / side
    assert away[False][10] > 0.1 and away[True].max() < 0.02 and away[False][11] < 0.02


def test_model_track_with_a_camera() -> None:
    """Pose and place are those of `align` with this camera, and what is no camera is refused at once."""
    model, camera = Model.from_pretrained("acdc-w16-fast"), Camera(field_of_view=70, eye_corners=90)
    film = [portrait()] * 3
    (faces, *_) = model.track(film, smooth=False, camera=camera)
    there = model.align(film[0], boxes=faces.boxes, camera=camera)
    plain = next(iter(model.track(film, smooth=False)))
    assert faces.pose is not None and faces.pose == there.pose and faces.pose.translation is not None
    assert faces.pose.translation.shape == (1, 3) and -3000 < faces.pose.translation[0, 2] < -100
    assert plain.pose is not None and plain.pose.translation is None
    assert all(f.pose is not None and f.pose.translation is not None for f in model.track(film, camera=camera))
    with pytest.raises(InputError, match="must be an acdc_fast.Camera"):
        model.track(film, camera=70)  # type: ignore[arg-type]
