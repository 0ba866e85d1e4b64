"""Crops: labels move exactly with the pixels, mirrors swap sides, and the generator decides everything."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from acdc_fast.markups import MARKUPS
from acdc_fast.photo.coordinates import (
    crop_to_image,
    euler_to_matrix,
    matrix_to_euler,
    square_from_box,
    square_from_points,
)
from acdc_fast.photo.crops import crop_faces
from acdc_fast.training.data import Sample
from acdc_fast.training.sampling.augment import crop_face, face_square, occlude, photometry, turned_pose, warp
from acdc_fast.training.settings import Augmentation

RNG = np.random.default_rng(5)
ONLY_GEOMETRY = Augmentation(
    cut=0, occluder=0, blur=0, low_resolution=0, brightness=0, contrast=0, gamma=0, noise=0, jpeg=0
)
FIVE = np.array([[85, 100], [115, 101], [102, 120], [90, 140], [110, 139]], np.float32)


def face(image: np.ndarray | None = None, **more: object) -> Sample:
    picture = RNG.integers(0, 256, (220, 200), np.uint8) if image is None else image
    return Sample(source="s", name="n", image=picture, landmarks={"2d5": FIVE}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("markup", MARKUPS)
def test_mirror_twice_is_the_identity(markup: str) -> None:
    table = MARKUPS[markup].mirror
    assert sorted(table) == list(range(MARKUPS[markup].points))
    assert (table[table] == np.arange(len(table))).all() and (table != np.arange(len(table))).any()


#: Pairs (left, right in the image) of the markups of WFLW, iBUG and CelebA: jaw ends, brows, outer and inner eye
#: corners, upper lids, nostrils, mouth corners, inner lips, pupils. Then the points on the middle line.
PAIRS = {
    "2d98": ([(0, 32), (15, 17), (33, 46), (37, 42), (38, 50), (41, 47), (55, 59), (60, 72), (64, 68), (61, 71),
              (67, 73), (65, 75), (76, 82), (77, 81), (87, 83), (88, 92), (95, 93), (96, 97)],
             [16, 51, 54, 57, 79, 85, 90, 94]),
    "2d68": ([(0, 16), (7, 9), (17, 26), (21, 22), (31, 35), (36, 45), (39, 42), (37, 44), (41, 46), (40, 47),
              (48, 54), (49, 53), (59, 55), (60, 64), (61, 63), (67, 65)], [8, 27, 30, 33, 51, 57, 62, 66]),
    "2d5": ([(0, 1), (3, 4)], [2]),
}  # fmt: skip


@pytest.mark.parametrize("markup", PAIRS)
def test_mirror_swaps_left_and_right(markup: str) -> None:
    pairs, middle = PAIRS[markup]
    for left, right in pairs:
        assert MARKUPS[markup].mirror[left] == right and MARKUPS[markup].mirror[right] == left
    assert all(MARKUPS[markup].mirror[k] == k for k in middle)
    assert (MARKUPS["3d68"].mirror == MARKUPS["2d68"].mirror).all()


def test_square_is_the_boxes_or_the_points() -> None:
    box = np.float32([60, 40, 140, 150])
    assert np.allclose(face_square(face(box=box)), square_from_box(box)[0])
    assert np.allclose(face_square(face()), square_from_points(FIVE[None])[0])


def test_plain_crop_by_hand() -> None:
    # The box gives a square of side 84 about (30, 75.8): see tests/photo/test_coordinates.py.
    sample = face(box=np.float32([10, 20, 50, 110]))
    crop = crop_face(sample, 42)
    assert crop.image.shape == (1, 42, 42) and crop.image.dtype == np.uint8 and not crop.mirrored
    assert np.allclose(crop.landmarks["2d5"][0], [(85 - 30 + 42) / 84, (100 - 75.8 + 42) / 84], atol=1e-6)
    assert crop.weights["2d5"].tolist() == [0, 0, 0, 0, 1 if 110 < 72 else 0]  # all lie right of the crop


def test_crops_are_those_of_the_package() -> None:
    """`warp` and `acdc_fast.photo.crops.crop_faces` cut alike: within cv2's 1/32-pixel interpolation and rounding."""
    image = np.clip(np.cumsum(RNG.normal(0, 6, (300, 300)), 1) + 128, 0, 255).astype(np.uint8)
    for square in ([150, 150, 60, 0], [150, 140, 130, 0], [20, 30, 200, 0], [150, 140, 130, 25]):
        ours = warp(image, np.array(square, float), 64).astype(float)
        theirs = crop_faces(image, np.array([square], float), 64)[0, 0] * 255
        assert np.abs(ours - theirs).mean() < 0.6 and np.abs(ours - theirs).max() < 6


def dot(at: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """(size, size) uint8, black but for a bright spot."""
    x, y = (np.exp(-((np.arange(size) - c) ** 2) / (2 * sigma**2)) for c in at)
    return np.round(255 * np.outer(y, x)).astype(np.uint8)


def spot(image: np.ndarray) -> np.ndarray:
    """Centre of mass of the bright part, crop units."""
    mass = np.where(image > image.max() * 0.2, image, 0).astype(float)
    y, x = np.mgrid[: len(image), : len(image)]
    centre: np.ndarray = np.array([(mass * (x + 0.5)).sum(), (mass * (y + 0.5)).sum()]) / mass.sum() / len(image)
    return centre


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("seed", range(4))
def test_pixels_move_as_the_labels_say(seed: int, size: int) -> None:
    """A bright dot is drawn at each point; in the crop its centre of mass lies where the label is, mirrored or not."""
    points = (FIVE - 100) * 3 + 500  # far from the border, which may be bright
    checked = 0
    for index in range(5):
        sample = Sample(source="", name="", image=dot(points[index], 1000, 5), landmarks={"2d5": points})
        crop = crop_face(sample, size, np.random.default_rng(seed), ONLY_GEOMETRY)
        at = crop.landmarks["2d5"][int(MARKUPS["2d5"].mirror[index]) if crop.mirrored else index]
        if (at > 0.1).all() and (at < 0.9).all():
            assert np.abs(spot(crop.image[0]) - at).max() * size < 0.1  # a tenth of a crop pixel
            checked += 1
    assert checked >= 4


def test_large_faces_are_shrunk_in_place() -> None:
    """A face 20 times the crop: blocks are averaged first, and points stay where they are."""
    point, square = np.array([990.3, 1110.7]), np.array([900.0, 900.0, 1280.0, 10.0])
    small = warp(dot(point, 1800, 25), square, 64)
    assert np.abs(crop_to_image(spot(small)[None, None], square[None])[0, 0] - point).max() < 2  # of 20 a crop pixel


def test_mirror_by_hand() -> None:
    sample = face(pose=np.float32([10, 20, 5]), weights={"2d5": np.float32([1, 0.5, 0.25, 0.125, 0.75])})
    plain = crop_face(sample, 64)
    still = Augmentation(**{**dict.fromkeys((f.name for f in fields(Augmentation)), 0.0), "mirror": 1.0})
    crop = crop_face(sample, 64, np.random.default_rng(0), still)
    assert crop.mirrored
    inside = slice(8, 56)
    assert (crop.image[0, inside, inside] == plain.image[0, inside, ::-1][:, inside]).mean() > 0.99
    assert np.allclose(crop.landmarks["2d5"][0], plain.landmarks["2d5"][1] * (-1, 1) + (1, 0), atol=1e-6)
    assert crop.weights["2d5"].tolist() == [0.5, 1, 0.25, 0.75, 0.125]
    assert crop.pose is not None and np.allclose(crop.pose, [-10, 20, -5], atol=1e-4)


def seen(head: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """(P, 3) points of a head (right of the viewer, up, forward) → (P, 2) in the image, y down."""
    return (head @ euler_to_matrix(*pose))[:, :2] * (1, -1)


@pytest.mark.parametrize("pose", [(0, 0, 0), (35, -10, 20), (-60, 25, -5), (80, 3, 60)])
def test_pose_turns_and_mirrors_with_the_picture(pose: tuple[float, float, float]) -> None:
    """The pose of a turned or mirrored crop shows the head's points where the turned or mirrored points are."""
    head, angle = RNG.normal(size=(20, 3)), 33.0
    flat = seen(head, np.array(pose))
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    clockwise = flat @ np.array([[c, s], [-s, c]])  # x right, y down: (1, 0) → (cos, sin)
    turned = turned_pose(np.float32(pose), angle)
    assert np.allclose(seen(head, turned), clockwise, atol=1e-5)
    assert pose == (0, 0, 0) or not np.allclose(turned, np.add(pose, (0, 0, angle)), atol=1)  # not roll alone
    mirrored = np.array(pose) * (-1, 1, -1)
    assert np.allclose(seen(head * (-1, 1, 1), mirrored), flat * (-1, 1), atol=1e-9)


def test_crop_turned_clockwise_shows_the_face_turned_back() -> None:
    sample, how = face(pose=np.float32([30, 5, 10])), Augmentation(20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    crop = crop_face(sample, 64, np.random.default_rng(3), how)
    angle = float(crop.square[3])
    assert abs(angle) > 3 and crop.pose is not None
    direction = [p[1] - p[0] for p in (sample.landmarks["2d5"], crop.landmarks["2d5"])]
    before, after = (np.rad2deg(np.arctan2(d[1], d[0])) for d in direction)
    assert np.isclose(after, before - angle, atol=1e-3)
    head = np.eye(3)
    c, s = np.cos(np.deg2rad(-angle)), np.sin(np.deg2rad(-angle))
    assert np.allclose(seen(head, crop.pose), seen(head, sample.pose) @ np.array([[c, s], [-s, c]]), atol=1e-5)  # type: ignore[arg-type]
    assert np.allclose(matrix_to_euler(euler_to_matrix(*crop.pose)), crop.pose, atol=1e-4)


def test_weights_of_points_outside_are_zero() -> None:
    sample = face(box=np.float32([60, 60, 140, 160]), weights={"2d5": np.float32([1, 0.5, 1, 1, 1])})
    away = FIVE.copy()
    away[4] += 500
    far = replace(sample, landmarks={"2d5": away})
    assert crop_face(far, 64).weights["2d5"].tolist() == [1, 0.5, 1, 1, 0]
    assert sample.weights["2d5"].tolist() == [1, 0.5, 1, 1, 1]  # what the database holds is not written to


def test_same_generator_same_crop() -> None:
    sample = face()
    first, again, other = (crop_face(sample, 64, np.random.default_rng((1, k))) for k in (0, 0, 1))
    assert (first.image == again.image).all() and (first.landmarks["2d5"] == again.landmarks["2d5"]).all()
    assert (first.image != other.image).any() and (first.landmarks["2d5"] != other.landmarks["2d5"]).any()


def test_photometry_keeps_shape_and_varies() -> None:
    image = np.clip(np.arange(64)[:, None] * 3 + np.arange(64), 0, 255).astype(np.uint8)
    before = image.copy()
    made = [photometry(image, np.random.default_rng(k), Augmentation()) for k in range(40)]
    assert all(m.shape == (64, 64) and m.dtype == np.uint8 for m in made) and (image == before).all()
    assert np.std([m.mean() for m in made]) > 10
    covered = [(occlude(image, np.random.default_rng(k)) != image).mean() for k in range(200)]
    assert 0.02 < np.mean(covered) < 0.2 and max(covered) < 0.3


def test_still_photometry_is_the_identity() -> None:
    image = RNG.integers(0, 256, (32, 32), np.uint8)
    assert (photometry(image, np.random.default_rng(0), Augmentation(*[0.0] * 12)) == image).all()


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="mirror"):
        Augmentation(mirror=1.5)
    with pytest.raises(ValueError, match="rotation"):
        Augmentation(rotation=-1)


def test_a_picture_cut_close_ends_within_the_crop_and_moves_no_point() -> None:
    """Grey values encode their place, so the values left in the crop show where the picture was cut."""
    picture = np.tile(np.arange(200, dtype=np.uint8), (220, 1))
    how = replace(ONLY_GEOMETRY, rotation=0, scale=0, shift=0, mirror=0)
    plain = crop_face(face(picture), 64)
    ended = 0
    for seed in range(20):
        whole = crop_face(face(picture), 64, np.random.default_rng(seed), replace(how, cut=0))
        cut = crop_face(face(picture), 64, np.random.default_rng(seed), replace(how, cut=1))
        np.testing.assert_array_equal(cut.landmarks["2d5"], plain.landmarks["2d5"])
        middle = np.s_[0, 20:44, 20:44]  # edges lie a fifth of the side inside at most
        np.testing.assert_array_equal(cut.image[middle], whole.image[middle])
        ended += not np.array_equal(cut.image, whole.image)
    assert ended > 15  # no edge inside: a third to the fourth power


def test_a_tiny_picture_can_be_cut() -> None:
    sample = Sample(source="s", name="n", image=np.zeros((9, 9), np.uint8), landmarks={"2d5": FIVE / 20})
    for seed in range(20):
        crop = crop_face(sample, 32, np.random.default_rng(seed), Augmentation(cut=1))
        assert crop.image.shape == (1, 32, 32)


def test_turned_and_aside_crops_have_no_labels() -> None:
    """The shares are those asked for, the squares are turned or beside the face, and no other crop changes."""
    how = replace(ONLY_GEOMETRY, rotation=0, scale=0, shift=0, turned=0.4, aside=0.5)
    sample = face(pose=np.array([10, 5, 3], np.float32))
    plain, crops = face_square(sample), [crop_face(sample, 64, np.random.default_rng(i), how) for i in range(400)]
    angle = np.array([c.square[3] for c in crops])
    away = np.linalg.norm([c.square[:2] - plain[:2] for c in crops], axis=1) / plain[2]
    wide, turned, aside = np.array([c.wide for c in crops]), angle != 0, away != 0
    assert (wide == turned | aside).all() and not (turned & aside).any()
    assert 0.33 < turned.mean() < 0.47 and 0.23 < aside.mean() < 0.37  # 0.4, and half of the rest
    assert set(angle) == {0, 90, 180, 270} and 1 <= away[aside].min() < 1.1 and 1.5 < away.max() <= 1.6
    for crop in crops:
        assert crop.pose is not None and np.isnan(crop.pose).all() == crop.wide
        assert (crop.weights["2d5"] == (0 if crop.wide else 1)).all()
    quarter = next(c for c in crops if c.square[3] == 90 and not c.mirrored)
    upright = next(c for c in crops if not c.wide and not c.mirrored)
    inside = np.s_[0, 8:56, 8:56]  # beyond the picture lies its border, or one grey
    apart = np.abs(quarter.image[inside].astype(float) - np.rot90(upright.image[0])[8:56, 8:56])
    assert apart.mean() < 1  # the square turns clockwise, so the face in it counterclockwise


def test_loose_boxes_are_those_of_other_people() -> None:
    """A share of the crops, 0.6 to 2 times as wide, up to 0.3 of a side away; the labels move along."""
    how = replace(ONLY_GEOMETRY, rotation=0, scale=0, shift=0, mirror=0, loose=0.5)
    plain = face_square(face())
    crops = [crop_face(face(), 64, np.random.default_rng(i), how) for i in range(400)]
    scale = np.array([c.square[2] for c in crops]) / plain[2]
    away = np.array([c.square[:2] - plain[:2] for c in crops]) / plain[2]
    loose = scale != 1
    assert 0.4 < loose.mean() < 0.6 and not away[~loose].any()
    assert 0.6 <= scale.min() < 0.65 and 1.9 < scale.max() <= 2 and 0.28 < np.abs(away).max() <= 0.3
    assert abs(np.log(scale[loose]).mean() - np.log(1.2) / 2) < 0.06  # evenly in the logarithm
    for crop in crops[:20]:
        assert crop_to_image(crop.landmarks["2d5"][None], crop.square[None])[0] == pytest.approx(FIVE, abs=1e-3)
    assert (crop_face(face(), 64, np.random.default_rng(1), replace(how, loose=0)).square == plain).all()
