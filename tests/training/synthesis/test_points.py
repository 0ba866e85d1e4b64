"""Points, pose and visibility on a made-up head whose surface is known as a formula."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.made_up import model, surface

from acdc_fast import _native
from acdc_fast.training.synthesis.markup import (
    _AT68,
    _AT98,
    BROW_LOWER,
    BROW_UPPER,
    Points,
    contour_tracks,
    mirror,
    surface_points,
)
from acdc_fast.training.synthesis.pose import MIDDLE, Camera, head_to_camera, pose_of, sample_pose
from acdc_fast.training.synthesis.render import visible_points

BROW = (BROW_UPPER, BROW_LOWER)
POSES = [(0, 0, 0), (35, 10, -20), (-60, -15, 5), (88, 0, 30)]
# Mirror images of WFLW's 98 points and of the 68 points.
FLIP98 = [*range(32, -1, -1), *range(46, 41, -1), *range(50, 46, -1), *range(37, 32, -1), *range(41, 37, -1), 51, 52,
          53, 54, 59, 58, 57, 56, 55, 72, 71, 70, 69, 68, 75, 74, 73, 64, 63, 62, 61, 60, 67, 66, 65, 82, 81, 80, 79,
          78, 77, 76, 87, 86, 85, 84, 83, 92, 91, 90, 89, 88, 95, 94, 93, 97, 96]  # fmt: skip
FLIP68 = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46,
          39, 38, 37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66,
          65]  # fmt: skip
FLIPS = {"2d98": FLIP98, "2d68": FLIP68, "3d68": FLIP68, "2d5": [1, 0, 2, 4, 3]}


def shot(pose: tuple[float, float, float], distance: float = 60.0) -> tuple[np.ndarray, np.ndarray, Camera]:
    """Projected vertices, rotation and camera of the neutral head."""
    rotation = head_to_camera(np.array(pose, float))
    camera = Camera(distance, 12.0, np.array([127.0, 130.0]))
    return camera.project((model().neutral - MIDDLE) @ rotation.T), rotation, camera


@pytest.mark.parametrize("pose", POSES)
def test_points_are_reprojections_of_their_places(pose: tuple[float, float, float]) -> None:
    flat, rotation, camera = shot(pose)
    found = Points(model(), BROW).read(flat, np.radians(pose[2]))
    places = surface_points(BROW)
    for markup, first in (("2d98", 33), ("2d68", 17), ("3d68", 0)):
        want = camera.project((surface(places[markup]) - MIDDLE) @ rotation.T)
        got = found[markup][first : first + len(want)]
        # Chords of a mesh with 97 vertices a side lie up to 0.04 cm under the surface: half a pixel at this scale.
        assert np.abs(got - want).max() < 0.5, markup
    eyes = [found["2d98"][60:68].mean(0), found["2d98"][68:76].mean(0)]
    np.testing.assert_allclose(found["2d5"][:2], eyes, atol=1e-4)
    np.testing.assert_allclose(found["2d5"][3:], found["2d68"][[48, 54]])
    pupils = camera.project((np.array([[-3.15, 3.4, 9.14], [3.15, 3.4, 9.14]]) - MIDDLE) @ rotation.T)
    assert np.abs(found["2d98"][96:] - pupils).max() < 0.5  # image-left first; the irises' middles by their making
    assert {name: len(at) for name, at in found.items()} == {"2d98": 98, "2d68": 68, "2d5": 5, "3d68": 68}


def test_layout_positions_are_found_again() -> None:
    uv = np.random.default_rng(1).uniform(0.02, 0.98, (300, 2))
    corners, weights = model().locate(uv)
    np.testing.assert_allclose((model().uv[corners] * weights[..., None]).sum(1), uv, atol=2e-3)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("pose", POSES)
def test_mirrored_head_has_mirrored_points(pose: tuple[float, float, float]) -> None:
    yaw, pitch, roll = pose
    flat, _, _ = shot(pose)
    found = Points(model(), BROW).read(flat, np.radians(roll))
    other, _, _ = shot((-yaw, pitch, -roll))
    mirrored = Points(model(), BROW).read(other, np.radians(-roll))
    for markup, flip in FLIPS.items():
        back = mirrored[markup][flip][:, :2] * [-1, 1] + [2 * 127.0, 0]
        apart = np.abs(back - found[markup][:, :2]).max(1)
        # The diagonals of the mesh's squares are not mirrored. For a contour point, two samples of its track may reach
        # equally far; both lie on the outline, up to 1.5 px apart, and either may win.
        contour = {"2d98": 33, "2d68": 17}.get(markup, 0)
        assert apart[contour:].max() < 0.3 and apart[:contour].max(initial=0) < 1.5, markup


def test_layout_of_points_is_symmetric() -> None:
    for markup, flip, first in (("2d98", FLIP98, 33), ("2d68", FLIP68, 17), ("3d68", FLIP68, 0)):
        uv = surface_points(BROW)[markup]
        order = np.array(flip[first : first + len(uv)]) - first
        np.testing.assert_allclose(mirror(uv)[order], uv, atol=1e-9)
    for places in (_AT98, _AT68):
        tracks, outward = contour_tracks(places)
        np.testing.assert_allclose(mirror(tracks)[::-1], tracks, atol=1e-9)
        np.testing.assert_allclose(outward[::-1] * [-1, 1], outward, atol=1e-9)


@pytest.mark.parametrize("yaw", [-38.0, -20.0, 0.0, 20.0, 38.0])
def test_hidden_side_of_the_contour_is_the_outline(yaw: float) -> None:
    flat, _, _ = shot((yaw, 0, 0))
    contour = Points(model(), BROW).read(flat, 0.0)["2d98"][:33]
    empty = np.zeros((len(flat), 0), np.float32)
    owner, _, _ = _native.rasterize(flat.astype(np.float32), model().triangles, empty, 256, 256, True)
    # The side that turns away: image-left for yaw > 0. From the temple to the mouth the outline is the head's own.
    sides = [range(1, 9)] if yaw > 0 else [range(24, 32)] if yaw < 0 else [range(1, 9), range(24, 32)]
    for x, y in contour[[i for side in sides for i in side]][:, :2]:
        columns = np.flatnonzero(owner[round(float(y))] >= 0)
        edge = columns[0] if x < np.median(columns) else columns[-1]
        assert abs(x - edge) < 2.0, (yaw, x, y, edge)


def test_pose_round_trip_and_signs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        pose = sample_pose(rng)
        np.testing.assert_allclose(pose_of(head_to_camera(pose)), pose, atol=1e-6)
    nose, forehead = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    assert (head_to_camera(np.array([30.0, 0, 0])) @ nose)[0] < -0.4  # yaw > 0: to the image's left
    assert (head_to_camera(np.array([0, 30.0, 0])) @ nose)[1] > 0.4  # pitch > 0: chin up
    assert (head_to_camera(np.array([0, 0, 30.0])) @ forehead)[0] > 0.4  # roll > 0: clockwise


def test_pose_is_found_again_from_3d_points() -> None:
    """A rigid fit of the neutral head's points to their projections (weak perspective) gives their pose."""
    points = Points(model(), BROW)
    rest = points.read(model().neutral.astype(np.float64) * [1, -1, 1], 0.0)["3d68"] * [1, -1, 1]
    for pose in POSES:
        flat, _, camera = shot(pose, distance=1e7)
        seen = points.read(flat, 0.0)["3d68"] * [1, -1, camera.scale]
        a, b = rest - rest.mean(0), seen - seen.mean(0)
        u, _, vt = np.linalg.svd(b.T @ a)
        rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
        np.testing.assert_allclose(pose_of(rotation), pose, atol=0.01)


def test_visibility() -> None:
    flat, _, _ = shot((75, 0, 0))
    found = Points(model(), BROW).read(flat, 0.0)
    empty = np.zeros((len(flat), 0), np.float32)
    _, depth, _ = _native.rasterize(flat.astype(np.float32), model().triangles, empty, 256, 256, True)
    nothing = np.zeros(depth.shape, bool)
    seen = visible_points(found["3d68"], depth, nothing, "3d68")
    assert not seen[:4].any() and not seen[36:40].any()  # the image-left side has turned away
    assert seen[13:17].all() and seen[42:48].all()
    assert not visible_points(found["3d68"], depth, ~nothing, "3d68").any()  # behind a picture-wide cover
    assert not visible_points(found["3d68"], np.full_like(depth, 100), nothing, "3d68").any()  # behind something nearer
    assert not visible_points(found["3d68"] + [300, 0, 0], depth, nothing, "3d68").any()  # outside the picture
