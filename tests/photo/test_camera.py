"""Pose and place of a head do not depend on where in the picture it stands, once the camera is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.paths import PHOTO

import acdc_fast
from acdc_fast import Camera, Faces, InputError, Model
from acdc_fast.alignment import Alignment, FaceReadout, Reader
from acdc_fast.bundled import bundled_path
from acdc_fast.photo.camera import Views
from acdc_fast.photo.coordinates import (
    box_from_points,
    euler_to_matrix,
    image_to_crop,
    matrix_to_euler,
    square_from_box,
)
from acdc_fast.photo.finding import Found
from acdc_fast.photo.images import Picture
from acdc_fast.readout.head_shape import _shape
from acdc_fast.types import HeadPose, Prediction
from acdc_fast.weights import load_weights

WIDTH, HEIGHT = 1600, 1200
CAMERA = Camera(field_of_view=80)
#: Of the head, in the camera's frame, in distances between the eye corners (9 cm): 1.1 m away, up to 33° off the axis.
PLACES = [(0, 0, -12), (6, 0, -12), (-6, 0, -12), (0, 4.5, -12), (6, -4.5, -12), (-7.8, 4, -12)]
POSES = [(0, 0, 0), (30, 5, -5), (-35, -10, 8), (10, 20, 15)]


def projected(points: np.ndarray) -> np.ndarray:
    """(L, 3) camera's frame → (L, 2) pixels."""
    f, _, cx, cy = CAMERA.numbers(WIDTH, HEIGHT)
    return np.stack([cx - f * points[:, 0] / points[:, 2], cy + f * points[:, 1] / points[:, 2]], 1)


def aligned(points: np.ndarray, camera: Camera | None) -> Faces:
    """What `align` makes of 3D 68 points that the network finds exactly."""
    weights = replace(load_weights(bundled_path("acdc-w32")), refinement=None)
    box = box_from_points(points[None])

    def network(crops: np.ndarray) -> Prediction:
        square = square_from_box(box)
        units = image_to_crop(points[None], square)
        if camera is not None:
            units = Views(camera, WIDTH, HEIGHT, square).straight(units)
        units = units.astype(np.float32)
        landmarks = {m: np.zeros((1, n, 2), np.float32) for m, n in weights.config.points.items()} | {"3d68": units}
        moments = {m: np.full((1, n, 3), 1e-4, np.float32) for m, n in weights.config.points.items()}
        layer, bias = weights.arrays["gtn.pose.weight"], weights.arrays["gtn.pose.bias"]
        return Prediction(landmarks, moments, ((units.reshape(1, -1) @ layer.T + bias) * 90).astype(np.float32), None)

    calibration = np.tile([[2.0], [0.0], [7.4]], (1, weights.config.maps))
    reader = Reader(weights, network, 32, np.inf, camera=camera)
    readout = FaceReadout(weights, np.inf, 2.0, calibration, weights.handed_out, camera)
    alignment = Alignment(reader, readout)
    picture = Picture(np.zeros((HEIGHT, WIDTH, 3), np.uint8), None)
    faces = next(alignment.each([Found(picture, box.astype(np.float32), np.ones(1, np.float32), True)]))
    assert isinstance(faces, Faces)
    return faces


def angle_between(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(a @ b.T) - 1) / 2, -1, 1))))


@pytest.mark.parametrize("pose", POSES)
def test_pose_does_not_depend_on_the_place(pose: tuple[float, float, float]) -> None:
    """What the picture shows of a head that is turned with its ray is the same head: the readout's error, which is up
    to 3 degrees, must be the same everywhere. Without the camera the pose is off by the ray's angle."""
    mean, _ = _shape()
    along_ray = euler_to_matrix(*pose)
    found, without = [], []
    for place in np.array(PLACES, np.float64):
        middle = projected(place[None])[0]
        views = Views(CAMERA, WIDTH, HEIGHT, np.array([[*middle, 200.0, 0.0]]))
        matrix = along_ray @ views.rotation[0].T
        points = projected(mean @ matrix + place)
        faces = aligned(points, CAMERA)
        assert np.abs(faces.landmarks["3d68"][0] - points).max() < 0.05  # pixels
        found.append(faces.pose.matrix[0] @ matrix.T)
        without.append(angle_between(aligned(points, None).pose.matrix[0], matrix))
        assert np.abs(faces.pose.translation[0] - place).max() < 0.05 * 12  # the distance by the readout's pose
        direction = faces.pose.translation[0] / np.linalg.norm(faces.pose.translation[0])
        assert np.abs(direction - place / np.linalg.norm(place)).max() < 0.01
    for each in found[1:]:
        assert angle_between(each, found[0]) < 0.5
    assert max(without) - without[0] > 5


def test_a_near_head_is_seen_in_perspective() -> None:
    """At 40 cm the nose is a tenth nearer than the eyes, and looks larger by as much."""
    from acdc_fast.readout import head_shape

    mean, place = _shape()[0], np.array([0.5, 0.2, -4.5])
    points = mean @ euler_to_matrix(20, 5, 0) + place
    seen = points[None, :, :2] / -points[None, :, 2:]
    heads = head_shape.fit(seen, euler_to_matrix(20, 5, 0)[None], np.ones((1, 68)))
    assert np.abs(heads.position[0] - place).max() < 0.02 and np.abs(heads.points[0] - points).max() < 0.02
    # One point in eight is anywhere: it counts little.
    seen[0, ::8] += 0.3
    matrix = euler_to_matrix(20, 5, 0)[None]
    assert np.abs(head_shape.fit(seen, matrix, np.ones((1, 68))).position[0] - place).max() < 0.2
    # ... and not at all where the confidence says so.
    sure = np.ones((1, 68))
    sure[0, ::8] = 0
    assert np.abs(head_shape.fit(seen, matrix, sure).position[0] - place).max() < 0.03


def test_every_face_of_several_pictures_has_its_own_camera_rays() -> None:
    model = Model.from_pretrained("acdc-w16-fast", threads=1)
    from PIL import Image

    photo = Image.open(PHOTO).convert("RGB")
    wide = Image.new("RGB", (photo.width * 2, photo.height))
    wide.paste(photo, (photo.width, 0))
    boxes = np.array([[178, 62, 267, 174]], np.float32)
    shifted = boxes + np.array([photo.width, 0, photo.width, 0], np.float32)
    camera = Camera(matrix=[[900, 0, 511.5], [0, 900, 300], [0, 0, 1]], eye_corners=90)
    both = model.align([photo, wide], boxes=[boxes, np.concatenate([shifted, shifted])], camera=camera)
    alone = [model.align(photo, boxes=boxes, camera=camera), model.align(wide, boxes=shifted, camera=camera)]
    for one, other in [(both[0], alone[0]), (both[1][0], alone[1]), (both[1][1], alone[1])]:
        assert one == other
    left, right = (faces.pose.translation[0] for faces in alone)
    assert left[0] < 0 < right[0] and left[2] < -300 and right[2] < -300  # millimetres, ahead of the camera
    plain = model.align(photo, boxes=boxes)
    for name, points in alone[0].landmarks.items():  # a face that is 18 degrees off the axis is seen straight
        assert 0 < np.abs(points - plain.landmarks[name]).max() < 3
    assert plain.pose.translation is None and plain.pose.points is None
    assert "translation" in alone[0].to_dict()["faces"][0]["pose"]
    assert "translation" not in plain.to_dict()["faces"][0]["pose"]
    assert both[1][[1]].pose.points.shape == (1, 68, 3)
    nobody = model.align(np.zeros((50, 50, 3), np.uint8), camera=camera)
    assert nobody.pose.translation.shape == (0, 3) and nobody.pose.points.shape == (0, 68, 3)


def test_a_turned_crop_gives_the_same_pose() -> None:
    """`straight` for a square turned by 90° is that of the upright one, turned."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0.2, 0.8, (1, 5, 2))
    upright = Views(CAMERA, WIDTH, HEIGHT, np.array([[1300.0, 200.0, 300.0, 0.0]]))
    turned = Views(CAMERA, WIDTH, HEIGHT, np.array([[1300.0, 200.0, 300.0, 90.0]]))
    given = np.stack([points[..., 1], 1 - points[..., 0]], -1)  # the same places in the turned crop
    straight = upright.straight(points)
    assert np.abs(upright.slanted(straight) - points).max() < 1e-9
    expected = np.stack([straight[..., 1], 1 - straight[..., 0]], -1)
    assert np.abs(turned.straight(given) - expected).max() < 1e-9
    assert np.abs(straight - points).max() > 0.005  # it does something out here


def test_the_middle_of_the_picture_stays_as_it_is() -> None:
    middle = Views(CAMERA, WIDTH, HEIGHT, np.array([[(WIDTH - 1) / 2, (HEIGHT - 1) / 2, 300.0, 0.0]]))
    points = np.random.default_rng(0).uniform(0, 1, (1, 9, 2))
    assert np.abs(middle.straight(points) - points).max() < 1e-12
    assert np.abs(middle.rotation - np.eye(3)).max() < 1e-12


def test_quaternion_and_opencv() -> None:
    rng = np.random.default_rng(1)
    angles = rng.uniform(-180, 180, (50, 3))
    angles[:4] = [[0, 0, 0], [0, 180, 0], [0, 0, 180], [90, 10, 10]]
    matrix = euler_to_matrix(*angles.T)
    zero = np.zeros(len(matrix), np.float32)
    place = rng.normal(0, 5, (len(matrix), 3)).astype(np.float32)
    pose = HeadPose(zero, zero, zero, matrix.astype(np.float32), place)
    w, x, y, z = pose.quaternion.astype(np.float64).T
    again = np.stack(
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y), 2 * (x * y + w * z),
         1 - 2 * (x * x + z * z), 2 * (y * z - w * x), 2 * (x * z - w * y), 2 * (y * z + w * x),
         1 - 2 * (x * x + y * y)], 1,
    ).reshape(-1, 3, 3)  # fmt: skip
    assert np.abs(again - matrix).max() < 1e-6 and (w >= 0).all()
    rotation, translation = pose.to_opencv()
    nose = np.array([0.1, -0.4, 0.5])
    camera = matrix.transpose(0, 2, 1) @ nose + place  # y up, z towards the viewer
    assert np.abs(rotation @ nose + translation - camera * (1, -1, -1)).max() < 1e-5
    assert HeadPose(zero, zero, zero, matrix).to_opencv()[1] is None


def test_beyond_a_profile_the_angles_are_those_of_the_matrix() -> None:
    """Yaw stays within ±90; a head turned farther has pitch and roll of half a turn. No angle is out of bounds."""
    for yaw in (85, 95, 120, 179):
        angles = matrix_to_euler(euler_to_matrix(yaw, 0, 0))
        assert np.abs(angles[0]) <= 90 and np.abs(euler_to_matrix(*angles) - euler_to_matrix(yaw, 0, 0)).max() < 1e-9
        if yaw > 90:
            assert abs(angles[0] - (180 - yaw)) < 1e-6 and abs(abs(angles[1]) - 180) < 1e-6


@pytest.mark.parametrize(
    "wrong",
    [
        {"matrix": [[1, 2], [3, 4]]}, {"matrix": [[900, 5, 0], [0, 900, 0], [0, 0, 1]]}, {"matrix": "k"},
        {"matrix": [[-900, 0, 0], [0, 900, 0], [0, 0, 1]]}, {"matrix": [[np.nan, 0, 0], [0, 900, 0], [0, 0, 1]]},
        {"field_of_view": 0}, {"field_of_view": 180}, {"field_of_view": "60"}, {"eye_corners": 0},
        {"eye_corners": True},
    ],
)  # fmt: skip
def test_a_camera_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Camera(**wrong)


def test_a_matrix_tells_the_field_of_view() -> None:
    matrix = [[900, 0, 511.5], [0, 900, 300], [0, 0, 1]]
    with pytest.raises(InputError, match="matrix or a field_of_view, not both"):
        Camera(matrix=matrix, field_of_view=60)
    assert Camera(matrix=matrix).field_of_view is None and Camera().field_of_view == 60
    assert replace(Camera(matrix=matrix), eye_corners=90) == Camera(matrix=matrix, eye_corners=90)
    assert Camera(matrix=matrix).numbers(1024, 768) == (900, 900, 511.5, 300)


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ((1, 1, 0, 0), "fx 1, fy 1"), ((900, 9, 800, 600), "fx 900, fy 9"), ((15, 900, 800, 600), "fx 15"),
        ((900, 900, 5e5, 600), "cx 500000, cy 600"), ((900, 900, 800, -2e4), "cx 800, cy -20000"),
    ],
)  # fmt: skip
def test_a_matrix_that_cannot_be_of_this_picture(numbers: tuple[float, ...], named: str) -> None:
    fx, fy, cx, cy = numbers
    camera = Camera(matrix=[[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    with pytest.raises(InputError, match=f"{named}.* of the camera's matrix cannot be for a picture of 1600×1200"):
        camera.numbers(WIDTH, HEIGHT)


@pytest.mark.parametrize("numbers", [(16, 16, 800, 600), (900, 900, -8000, 8000), (9e5, 9e5, 800, 600)])
def test_a_matrix_of_a_wide_lens_or_of_a_part_of_a_picture_is_taken(numbers: tuple[float, ...]) -> None:
    fx, fy, cx, cy = numbers
    assert Camera(matrix=[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]).numbers(WIDTH, HEIGHT) == numbers


def test_what_is_no_camera() -> None:
    model = Model.from_pretrained("acdc-w16-fast", threads=1)
    with pytest.raises(InputError, match=r"acdc_fast\.Camera"):
        model.align(PHOTO, camera=60)  # type: ignore[call-overload]
    with pytest.raises(InputError, match=r"fx 1, fy 1"):
        model.align(PHOTO, camera=Camera(matrix=np.eye(3)))
    assert acdc_fast.Camera is Camera and Camera() == Camera(field_of_view=60.0)
    assert Camera(matrix=np.eye(3)) == Camera(matrix=np.eye(3)) and hash(Camera(matrix=np.eye(3)))
