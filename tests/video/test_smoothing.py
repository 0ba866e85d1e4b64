"""Smoothing: less jitter, hardly any lag, on made-up faces whose every place is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from acdc_fast.photo.coordinates import euler_to_matrix
from acdc_fast.types import Faces, HeadPose
from acdc_fast.video.smoothing import Smoother

SIDE = 80.0
BASE = np.random.default_rng(0).random((68, 2)) * SIDE + 100
CENTRE = BASE.mean(0)


def faces_at(points: np.ndarray, angles: np.ndarray, ids: list[int], spread: np.ndarray | None = None) -> Faces:
    """(N, 68, 2) pixels and (N, 3) degrees."""
    count = len(ids)
    wide = np.ones((count, 68), np.float32) if spread is None else np.tile(spread.astype(np.float32), (count, 1))
    pose = HeadPose(*angles.T.astype(np.float32), euler_to_matrix(*angles.T).astype(np.float32))
    grown = SIDE * (1 + 0.03 * np.sin(points.sum()))  # boxes of real faces are not steady
    boxes = np.tile(np.array([100, 100, 100 + grown, 100 + grown], np.float32), (count, 1))
    flat = {"2d68": wide}
    return Faces(
        boxes, np.ones(count, np.float32), {"2d68": points.astype(np.float32)}, flat, flat, pose, ids=np.array(ids)
    )  # fmt: skip


def blink(frame: int) -> np.ndarray:
    points = BASE.copy()
    if frame // 12 % 3 == 1:
        points[:8, 1] += 2 - 2 * np.cos(2 * np.pi * frame / 12)
    return points


MOTIONS: dict[str, Callable[[int], np.ndarray]] = {
    "rest": lambda f: BASE,
    "slow": lambda f: BASE + (0.4 * f, 0),
    "fast": lambda f: BASE + (4.0 * f, -2.0 * f),
    "zoom": lambda f: CENTRE + (BASE - CENTRE) * (1 + 0.01 * f),
    "blink": blink,
}


@pytest.mark.parametrize("noise", [0.25, 0.6])  # 0.3 and 0.75 % of the side
@pytest.mark.parametrize("motion", list(MOTIONS))
def test_less_jitter_no_lag_no_more_error(motion: str, noise: float) -> None:
    rng, smoother = np.random.default_rng(1), Smoother()
    truth = np.array([MOTIONS[motion](f) for f in range(100)])
    raw = (truth + rng.normal(0, noise, truth.shape)).astype(np.float32)
    got = [smoother.step(faces_at(points[None], np.zeros((1, 3)), [4])).landmarks["2d68"][0] for points in raw]
    truth, raw, smooth = truth[12:], raw[12:], np.array(got)[12:]
    moving = slice(0, 8) if motion == "blink" else slice(None)

    def jitter(points: np.ndarray) -> float:
        return float(np.abs(np.diff(points - truth, axis=0)).mean())

    def error(points: np.ndarray, late: int = 0) -> float:
        return float(np.linalg.norm((points[late:] - truth[: len(truth) - late])[:, moving], axis=-1).mean())

    limit = {"rest": 0.4, "slow": 0.4}.get(motion, 0.6)
    assert jitter(smooth) < limit * jitter(raw)
    # What moves within the face is followed with up to a frame of lag: a small cost where there is little noise.
    assert error(smooth) <= error(raw) * {"zoom": 1.2, "blink": 1.1}.get(motion, 1)
    if motion != "rest":
        assert min(range(4), key=lambda late: error(smooth, late)) <= 1, "frames of lag"


def test_wide_maps_are_steadied_more() -> None:
    rng, smoother = np.random.default_rng(2), Smoother()
    spread = np.where(np.arange(68) < 34, 1.0, 6.0)
    frames = BASE + rng.normal(0, 0.5, (80, 68, 2))
    seen = [smoother.step(faces_at(f[None], np.zeros((1, 3)), [0], spread)) for f in frames]
    noise = np.array([faces.landmarks["2d68"][0] for faces in seen])[20:].std(0).mean(1)
    assert noise[34:].mean() < 0.85 * noise[:34].mean()


def test_pose_is_steadied_through_half_a_turn() -> None:
    """Roll passes ±180° without a jump; what comes out are rotations, and angles that belong to them."""
    rng, smoother = np.random.default_rng(3), Smoother()
    truth = np.stack([np.full(60, 10.0), np.full(60, -5.0), 150 + np.arange(60.0)], 1)
    off_raw, off = [], []
    for angles in truth:
        noisy = angles + rng.normal(0, 1.5, 3)
        pose = smoother.step(faces_at(BASE[None], noisy[None], [0])).pose
        assert np.allclose(pose.matrix[0] @ pose.matrix[0].T, np.eye(3), atol=1e-5)
        assert np.linalg.det(pose.matrix[0]) > 0
        assert np.allclose(euler_to_matrix(pose.yaw, pose.pitch, pose.roll), pose.matrix, atol=1e-5)
        true = euler_to_matrix(*angles)
        for found, where in ((pose.matrix[0], off), (euler_to_matrix(*noisy), off_raw)):
            where.append(np.degrees(np.arccos(np.clip((np.trace(found @ true.T) - 1) / 2, -1, 1))))
    assert np.mean(off[10:]) < np.mean(off_raw[10:]) and max(off[10:]) < 6


def test_faces_are_not_mixed_and_the_absent_start_anew() -> None:
    """Two faces far apart that change their order; one goes and comes back elsewhere."""
    smoother = Smoother()
    a, b = BASE, BASE + 150
    angles = np.array([[20.0, 0, 0], [-20.0, 0, 0]])
    for f in range(10):
        order = [0, 1] if f % 2 else [1, 0]
        faces = smoother.step(faces_at(np.stack([a, b])[order], angles[order], order))
        for i, name in enumerate(order):
            np.testing.assert_allclose(faces.landmarks["2d68"][i], (a, b)[name], atol=1e-3)
            assert faces.pose.yaw[i] == pytest.approx(angles[name, 0], abs=1e-3)
    smoother.step(faces_at(a[None], angles[:1], [0]))
    back = smoother.step(faces_at(np.stack([a, b + 40]), angles, [0, 1]))
    np.testing.assert_allclose(back.landmarks["2d68"][1], b + 40, atol=1e-3)
    none = smoother.step(faces_at(np.zeros((0, 68, 2)), np.zeros((0, 3)), []))
    assert len(none) == 0 and none.landmarks["2d68"].shape == (0, 68, 2)


def test_place_and_points_in_space_are_steadied_together() -> None:
    """A head that comes nearer, seen with noise of its place: less jitter, no lag, and its points go with it."""
    rng, seen, steady = np.random.default_rng(0), [], []
    head, smoother = rng.uniform(-1, 1, (68, 3)), Smoother()
    way = np.array([[0.01 * f, 0.0, -8 + 0.02 * f] for f in range(60)])
    for place in way:
        at = place + rng.normal(0, 0.02, 3)
        faces = faces_at(BASE[None], np.zeros((1, 3)), [4])
        assert faces.pose is not None
        space = {"translation": at[None].astype(np.float32), "points": (head + at)[None].astype(np.float32)}
        given = replace(faces, pose=replace(faces.pose, **space))
        seen.append(at)
        pose = smoother.step(given).pose
        assert pose is not None and pose.translation is not None and pose.points is not None
        steady.append(pose.translation[0])
        assert pose.points[0] - pose.translation[0] == pytest.approx(head, abs=1e-5)
        assert pose.points.dtype == pose.translation.dtype == np.float32
    jitter = [np.abs(np.diff(np.array(each)[20:] - way[20:], axis=0)).mean() for each in (seen, steady)]
    assert jitter[1] < 0.4 * jitter[0]
    assert np.abs((np.array(steady) - way)[30:].mean(0)).max() < 0.01, "no lag: half a frame's way"


def test_blendshapes_are_steadied_each_face_its_own() -> None:
    """Less jitter at rest, a blink is late by a frame at most, within [0, 1], whatever the order of the faces."""
    rng, smoother = np.random.default_rng(0), Smoother()
    seen, steady, true = [], [], []
    for f in range(80):
        truth = np.array([[0.3, 1.0 if f % 20 in (10, 11, 12, 13) and f > 50 else 0.0], [0.8, 0.5]])
        noisy = np.clip(truth + rng.normal(0, 0.05, truth.shape), 0, 1).astype(np.float32)
        order = [0, 1] if f % 2 else [1, 0]
        faces = faces_at(np.stack([BASE, BASE])[order], np.zeros((2, 3)), order)
        given = replace(faces, blendshapes={"a": noisy[order, 0], "b": noisy[order, 1]})
        got = smoother.step(given).blendshapes
        assert list(got) == ["a", "b"] and got["a"].dtype == np.float32
        seen.append(noisy)
        steady.append(np.stack([got["a"], got["b"]], 1)[np.argsort(order)])
        true.append(truth)
    raw, found, wanted = np.array(seen), np.array(steady), np.array(true)
    assert found.min() >= 0 and found.max() <= 1
    assert np.abs(np.diff(found[20:50, 0, 0])).mean() < 0.6 * np.abs(np.diff(raw[20:50, 0, 0])).mean()
    assert np.abs(found - wanted)[20:50].max() < 0.2
    assert found[71, 0, 1] > 0.7 and found[75, 0, 1] < 0.3
    none = smoother.step(replace(faces_at(np.zeros((0, 68, 2)), np.zeros((0, 3)), []), blendshapes={"a": np.zeros(0)}))
    assert none.blendshapes["a"].shape == (0,)


def textured(size: int = 240) -> np.ndarray:
    """(H, W) grey values of a smooth random pattern, as float."""
    rng = np.random.default_rng(5)
    coarse = Image.fromarray(rng.uniform(30, 220, (size // 6, size // 6)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def film_of(places: np.ndarray, noise: float = 3.0) -> list[np.ndarray]:
    """Frames whose pattern is moved to (T, 2) places; each has noise of its own."""
    rng, pattern = np.random.default_rng(6), Image.fromarray(textured(400))
    frames = []
    for x, y in places:
        moved = pattern.transform(
            (300, 300), Image.Transform.AFFINE, (1, 0, 50 - x, 0, 1, 50 - y), Image.Resampling.BILINEAR
        )
        grey = np.asarray(moved) + rng.normal(0, noise, (300, 300))
        frames.append(np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, 2))
    return frames


def moving(at: np.ndarray, points: np.ndarray, score: float = 0.95) -> Faces:
    """The face of `faces_at`, whose box goes with it."""
    faces = faces_at(points[None], np.zeros((1, 3)), [0])
    boxes = np.array([[100, 100, 100 + SIDE, 100 + SIDE]]) + np.tile(at, 2)
    return replace(faces, boxes=boxes.astype(np.float32), scores=np.full(1, score, np.float32))


#: A head that wanders: up to 4 % of its side a frame, as in bench/steadiness.py.
WAY = np.stack([30 * np.sin(2 * np.pi * np.arange(60) / 60), 12 * np.sin(2 * np.pi * np.arange(60) / 45)], 1)


def test_with_the_picture_a_moving_face_is_as_steady_as_one_at_rest() -> None:
    rng, frames = np.random.default_rng(1), film_of(WAY)
    truth = BASE + WAY[:, None]
    raw = truth + rng.normal(0, 0.4, truth.shape)
    seen: dict[bool, np.ndarray] = {}
    for known in (False, True):
        smoother = Smoother()
        steps = [smoother.step(moving(*of), rgb if known else None) for *of, rgb in zip(WAY, raw, frames, strict=True)]
        seen[known] = np.array([faces.landmarks["2d68"][0] for faces in steps])[10:]

    def jitter(points: np.ndarray) -> float:
        return float(np.abs(np.diff(points - truth[10:], axis=0)).mean())

    assert jitter(seen[True]) < 0.3 * jitter(raw[10:]) < jitter(seen[False])
    error = [float(np.linalg.norm(points - truth[10:], axis=-1).mean()) for points in (seen[True], raw[10:])]
    assert error[0] < 0.6 * error[1]


@pytest.mark.parametrize("known", [True, False])
def test_one_frame_of_wrong_points_does_not_jump(known: bool) -> None:
    """Where the picture denies them, whatever their score; without the picture where the score is low."""
    rng, frames, smoother = np.random.default_rng(1), film_of(WAY), Smoother()
    found = []
    for f, rgb in enumerate(frames[:30]):
        points = BASE + WAY[f] + rng.normal(0, 0.3, BASE.shape)
        wrong = f == 20
        if wrong:
            points = points + (0.5 * SIDE, -0.3 * SIDE)
        given = moving(WAY[f], points, 0.2 if wrong and not known else 0.95)
        turned = faces_at(points[None], np.array([[60.0 if wrong else 0.0, 0, 0]]), [0])
        given = replace(given, pose=turned.pose, blendshapes={"a": np.full(1, float(wrong), np.float32)})
        faces = smoother.step(given, rgb if known else None)
        found.append(float(np.linalg.norm(faces.landmarks["2d68"][0] - BASE - WAY[f], axis=1).mean()))
        assert abs(faces.pose.yaw[0]) < 1e-3 and faces.blendshapes["a"][0] == 0
    assert max(found) < (0.02 if known else 0.05) * SIDE


def test_a_sudden_move_that_the_picture_shows_is_followed_at_once() -> None:
    way = np.zeros((20, 2))
    way[10:] = 0.15 * SIDE, -0.1 * SIDE
    rng, smoother = np.random.default_rng(1), Smoother()
    for f, rgb in enumerate(film_of(way)):
        # The box of the first frame after the move is still the old one, as the tracker's is.
        points = BASE + way[f] + rng.normal(0, 0.3, BASE.shape)
        got = smoother.step(moving(way[f - (f == 10)], points), rgb).landmarks["2d68"][0]
        assert np.linalg.norm(got - BASE - way[f], axis=1).mean() < 0.007 * SIDE


def test_a_face_that_really_jumps_is_followed() -> None:
    """Points that go on to deny the picture are believed after a while: it may be the picture that misleads."""
    frames, smoother = film_of(np.zeros((30, 2))), Smoother()
    found = []
    for f, rgb in enumerate(frames):
        to = np.array([0.0, 0.0]) if f < 10 else np.array([0.4, 0.0]) * SIDE
        found.append(smoother.step(moving(np.zeros(2), BASE + to), rgb).landmarks["2d68"][0][:, 0].mean() - CENTRE[0])
    assert abs(found[12]) < 0.01 * SIDE < 0.3 * SIDE < found[16] and found[-1] > 0.38 * SIDE


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("gap", [1, 3, 5])
def test_a_face_missing_for_a_few_frames_goes_on(gap: int, known: bool) -> None:
    """When it comes back its past still counts, as much as the time that went by leaves of it: with the picture a face
    that wanders, without it one that moves evenly."""
    way = WAY if known else np.stack([1.2 * np.arange(60), -0.4 * np.arange(60)], 1)
    frames = film_of(way) if known else [None] * 60
    away: dict[bool, list[float]] = {True: [], False: []}
    raw = []
    for seed in range(4):
        truth = BASE + way[:, None]
        noisy = truth + np.random.default_rng(seed).normal(0, 0.6, truth.shape)
        for there in (True, False):
            smoother = Smoother()
            for f in range(30 + gap + 1):
                missing = not there and 30 <= f < 30 + gap
                faces = moving(way[f], noisy[f])
                got = smoother.step(faces[[]] if missing else faces, frames[f])
            away[there].append(float(np.linalg.norm(got.landmarks["2d68"][0] - truth[f], axis=1).mean()))
        raw.append(float(np.linalg.norm(noisy[f] - truth[f], axis=1).mean()))
    assert np.mean(away[True]) < np.mean(away[False]) < {1: 0.75, 3: 0.92, 5: 0.98}[gap] * np.mean(raw)


@pytest.mark.parametrize("gap", [1, 6])
def test_a_face_that_comes_back_elsewhere_or_late_starts_anew(gap: int) -> None:
    smoother, rng = Smoother(), np.random.default_rng(0)
    for _ in range(20):
        smoother.step(moving(np.zeros(2), BASE + rng.normal(0, 0.6, BASE.shape)))
    for _ in range(gap):
        smoother.step(moving(np.zeros(2), BASE)[[]])
    back = BASE + (0.2 * SIDE if gap == 1 else 0, 0) + rng.normal(0, 0.6, BASE.shape)
    got = smoother.step(moving(np.zeros(2), back)).landmarks["2d68"][0]
    np.testing.assert_array_equal(got, back.astype(np.float32))
