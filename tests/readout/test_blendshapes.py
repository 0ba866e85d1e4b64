"""Blendshapes: what they read, whose they are, and which side is left."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import PHOTO
from helpers.small import small_weights
from PIL import Image

from acdc_fast import Model
from acdc_fast.markups import mirrored_points
from acdc_fast.photo.coordinates import euler_to_matrix
from acdc_fast.readout.blendshapes import MARKUPS, NAMES, blendshapes, mirrored, packaged, told, upright
from acdc_fast.types import Faces

SMILING = [178.0, 63.0, 267.0, 174.0]
BOXES = [SMILING, [160.0, 50.0, 290.0, 190.0], [30.0, 40.0, 90.0, 100.0], [200.0, 150.0, 300.0, 260.0]]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained("acdc-w16-fast", threads=1)


@pytest.fixture(scope="module")
def faces(model: Model) -> Faces:
    return model.align(PHOTO, boxes=BOXES)


def test_names_are_those_of_phones() -> None:
    assert len(NAMES) == len(set(NAMES)) == 52 and list(NAMES) == sorted(NAMES)
    assert {mirrored(name) for name in NAMES} == set(NAMES)
    assert all(mirrored(mirrored(name)) == name for name in NAMES)
    assert mirrored("eyeBlinkLeft") == "eyeBlinkRight" and mirrored("jawOpen") == "jawOpen"
    assert set(told()) <= set(NAMES) and set(map(mirrored, told())) == set(told())
    assert list(told()) == sorted(told()) and packaged().numbers.shape[1] == len(told())


def test_shapes_know_neither_place_nor_size_nor_turn() -> None:
    """A picture that is turned turns the points, and the pose's roll where the face looks at the camera."""
    rng = np.random.default_rng(0)
    points = rng.normal(0, 30, (3, 20, 2))
    matrix = euler_to_matrix(np.zeros(3), np.array([0.0, 10, -20]), np.array([0.0, 5, -9]))
    shape, way = upright(points, matrix)
    assert shape.shape == (3, 40) and way.shape == (3, 2)
    for degrees in (30, 90, 180):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        picture = points @ np.array([[c, s], [-s, c]])  # y down: clockwise as seen
        seen = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])  # y up: the same turn
        again, same_way = upright(3 * picture + [7, -5], matrix @ seen.T)
        assert again == pytest.approx(shape, abs=1e-9) and same_way == pytest.approx(way, abs=1e-9)
    assert (np.diff(way[[2, 0, 1], 1]) > 0.1).all()  # a lifted chin looks up


def test_a_smile_on_a_photograph(model: Model, faces: Faces) -> None:
    """The astronaut smiles with teeth that touch. Each box its own numbers, whatever stands beside it."""
    assert tuple(faces.blendshapes) == told()
    for name, values in faces.blendshapes.items():
        assert values.shape == (4,) and values.dtype == np.float32 and ((values >= 0) & (values <= 1)).all(), name
    first = {name: values[0] for name, values in faces.blendshapes.items()}
    assert min(first["mouthSmileLeft"], first["mouthSmileRight"]) > 0.6
    assert first.get("jawOpen", 0) < 0.3
    assert any(np.ptp(values) > 0.2 for values in faces.blendshapes.values())
    for i, box in enumerate(BOXES):
        alone = model.align(PHOTO, boxes=[box])
        for name, values in alone.blendshapes.items():
            assert values[0] == faces.blendshapes[name][i], (name, i)
    none = model.align(PHOTO, boxes=[])
    assert {n: v.shape for n, v in none.blendshapes.items()} == dict.fromkeys(told(), (0,))


def test_the_mirror_image_has_left_and_right_exchanged(faces: Faces) -> None:
    """Of points and pose to the rounding of the file's float32; both sides of these faces differ."""
    assert faces.pose is not None
    flip, points = np.array([-1.0, 1, 1]), {m: faces.landmarks[m].astype(np.float64) for m in MARKUPS}
    points["2d98"][0, 76:96] += [0.0, 2.0] * (points["2d98"][0, 76:96] > points["2d98"][0, 79])  # uneven mouths
    given = blendshapes(points, faces.pose.matrix)
    back = blendshapes({m: mirrored_points(p, m) for m, p in points.items()}, flip[:, None] * faces.pose.matrix * flip)
    for name in told():
        assert back[mirrored(name)] == pytest.approx(given[name], abs=2e-3), name


def test_left_is_the_person_s_own(faces: Faces) -> None:
    """The corner of the mouth on the picture's right is the person's left. It alone is let down."""
    assert faces.pose is not None
    points = {m: faces.landmarks[m][:1].astype(np.float64) for m in MARKUPS}
    width = np.linalg.norm(points["3d68"][0, 54] - points["3d68"][0, 48])
    assert points["3d68"][0, 54, 0] > points["3d68"][0, 48, 0]
    for markup, corners, near in (("2d98", (82, 88), (81, 83, 89, 95)), ("3d68", (54, 64), (53, 55, 63, 65))):
        points[markup][0, list(corners)] += np.array([-0.12, 0.16]) * width
        points[markup][0, list(near)] += np.array([-0.06, 0.08]) * width
    values = blendshapes(points, faces.pose.matrix[:1])
    assert values["mouthSmileLeft"][0] < values["mouthSmileRight"][0] - 0.15


def test_where_the_points_are_missing_there_is_nothing() -> None:
    flat = Model(small_weights(stages=1, markups=("2d68", "2d5", "3d68")), resolution=32, threads=1)
    assert flat.align(PHOTO, boxes=BOXES).blendshapes == {}
    whole = Model.from_pretrained("acdc-w16-fast", threads=1, markups=("2d5",))
    assert tuple(whole.align(PHOTO, boxes=BOXES[:1]).blendshapes) == told()  # they need not be handed out


def test_a_picture_on_its_side_gives_the_same(model: Model) -> None:
    """Read by a crop of its own. The boxes are given, so no detector takes part."""
    upright_one = model.align(PHOTO, boxes=BOXES[:1]).blendshapes
    picture = np.rot90(np.asarray(Image.open(PHOTO).convert("RGB"))).copy()
    lying = model.align(picture, boxes=[[63, 511 - 267, 174, 511 - 178]]).blendshapes
    for name in told():
        assert lying[name][0] == pytest.approx(upright_one[name][0], abs=0.25), name


DATA = os.environ.get("ACDC_DATA_ROOT")
CASES: dict[str, dict[str, float]] = {
    "rest": {},
    "open": {"jawOpen": 0.9},
    "smile": {"mouthSmile_L": 1.0, "mouthSmile_R": 1.0},
    "left": {"mouthSmile_L": 1.0},
    "right": {"mouthSmile_R": 1.0},
}


@pytest.mark.skipif(not DATA, reason="ACDC_DATA_ROOT is not set: no head to draw with a known expression")
def test_on_rendered_faces_of_known_expression(model: Model) -> None:
    """Means over eight people seen from the front: each expression shows under its own name and on its own side."""
    from acdc_fast.training.synthesis.mesh import FILE, load_model
    from acdc_fast.training.synthesis.person import Gaze
    from acdc_fast.training.synthesis.render import make_person, render

    heads = load_model(Path(DATA or "") / FILE)
    people = [make_person(heads, 4_500_000 + n) for n in range(8)]
    means: dict[str, dict[str, float]] = {}
    for case, strengths in CASES.items():
        drawn = [
            render(heads, person, 0, yaw_limit=20.0, expressions=lambda _, __, s=strengths: (dict(s), Gaze(0.0, 0.0)))
            for person in people
        ]
        found = []
        for face in drawn:
            low, high = face.landmarks["2d98"].min(0), face.landmarks["2d98"].max(0)
            picture = np.repeat(face.image[..., None], 3, 2)
            found.append(model.align(picture, boxes=[[*low, *high]]).blendshapes)
        means[case] = {name: float(np.mean([one[name][0] for one in found])) for name in told()}
    print(means)
    for name, case in (("jawOpen", "open"), ("mouthSmileLeft", "smile"), ("mouthSmileRight", "smile")):
        if name in told():
            assert means[case][name] > means["rest"][name] + 0.2, name
    assert means["left"]["mouthSmileLeft"] > means["left"]["mouthSmileRight"] + 0.05
    assert means["right"]["mouthSmileRight"] > means["right"]["mouthSmileLeft"] + 0.05
