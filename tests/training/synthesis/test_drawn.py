"""Whole pictures: determinism, splits, tar, turned faces, command line; on a made-up head, on the real one if given."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.made_up import model, write

from acdc_fast.errors import InputError
from acdc_fast.training.data import open_database
from acdc_fast.training.synthesis.dataset import PEOPLE, SHOTS, synthetic
from acdc_fast.training.synthesis.face_tar import detected_box, open_drawn, write_drawn
from acdc_fast.training.synthesis.markup import BROW_LOWER, BROW_UPPER, surface_points
from acdc_fast.training.synthesis.mesh import load_model
from acdc_fast.training.synthesis.pose import head_to_camera
from acdc_fast.training.synthesis.realskin import take_skin
from acdc_fast.training.synthesis.render import make_person, render
from acdc_fast.training.synthesis.repose import Fitted, Reposer, further_pose
from acdc_fast.training.synthesis.texture import SIZE

MARKUPS = {"2d98": 98, "2d68": 68, "2d5": 5, "3d68": 68}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    write(path)
    return path


def test_same_seed_same_bytes() -> None:
    first, again = (render(model(), make_person(model(), 5), 2, size=96) for _ in range(2))
    assert first.image.shape == (96, 96) and first.image.dtype == np.uint8
    assert first.image.tobytes() == again.image.tobytes() and first.pose.tobytes() == again.pose.tobytes()
    for markup, count in MARKUPS.items():
        assert first.landmarks[markup].shape == (count, 2) and first.visible[markup].shape == (count,)
        assert first.landmarks[markup].tobytes() == again.landmarks[markup].tobytes()
        assert np.isfinite(first.landmarks[markup]).all()
    other_shot, other_person = (
        render(model(), make_person(model(), 5), 3, size=96),
        render(model(), make_person(model(), 6), 2, size=96),
    )
    assert (other_shot.pose != first.pose).any() and (other_person.pose != first.pose).any()
    assert np.abs(other_shot.image.astype(int) - first.image).mean() > 5


def test_labels_scale_with_the_picture() -> None:
    small, large = (render(model(), make_person(model(), 7), 0, size=s) for s in (100, 200))
    for markup in MARKUPS:
        got = (large.landmarks[markup] + 0.5) / 2 - 0.5
        # the canvas is rounded to whole pixels (135 and 270): exactly twice here, up to float32
        np.testing.assert_allclose(got, small.landmarks[markup], atol=0.02)


def test_database_protocol(folder: Path, tmp_path: Path) -> None:
    faces = open_database("synthetic", folder, "train")
    assert len(faces) == 100_000 and set(faces.markups) == set(MARKUPS)
    sample = faces[3]
    assert sample.image.dtype == np.uint8 and sample.pose is not None and sample.pose.shape == (3,)
    assert sample.attributes["visible-2d98"].shape == (98,)
    part = faces[2:5]
    np.testing.assert_array_equal(part[1].image, sample.image)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(faces))[3].image, sample.image)
    with pytest.raises(InputError, match="splits"):
        synthetic(folder, "validation")


def test_people_of_the_splits_differ(folder: Path) -> None:
    drawn = {split: synthetic(folder, split) for split in PEOPLE}
    starts = sorted(PEOPLE.values())
    # The numbers of a split's people end before the next split's begin, and before its half with real skin.
    assert min(np.diff(starts)) // 2 > len(drawn["train"]) // SHOTS
    assert len({faces[0].image.tobytes() for faces in drawn.values()}) == 3


def test_tar_holds_the_same_faces(folder: Path, tmp_path: Path) -> None:
    faces = synthetic(folder, "test", size=96)
    path = tmp_path / "synthetic-test.tar"
    write_drawn(path, faces.rendered, faces.markups, range(4, 7), workers=1)
    stored = open_drawn(path, "synthetic", "test")
    assert len(stored) == 3 and list(tmp_path.iterdir()) == [path]
    for i in range(3):
        kept, drawn = stored[i], faces[4 + i]
        np.testing.assert_array_equal(kept.pose, drawn.pose)
        assert np.abs(kept.image.astype(int) - drawn.image).mean() < 6  # JPEG of quality 92 on a noisy picture
        for markup in MARKUPS:
            np.testing.assert_array_equal(kept.landmarks[markup], drawn.landmarks[markup])
            found = detected_box(faces.rendered(4 + i))
            assert kept.box is None if np.isnan(found).any() else (kept.box == found).all()
            np.testing.assert_array_equal(kept.attributes[f"visible-{markup}"], drawn.attributes[f"visible-{markup}"])
    path.write_bytes(b"no tar")
    with pytest.raises(InputError, match=r"synthetic-test\.tar"):
        open_drawn(path, "synthetic", "test")


def photograph(pose: tuple[float, float, float]) -> tuple[np.ndarray, Fitted, np.ndarray]:
    """A textured picture, the made-up head laid on it in this pose, and its 68 points."""
    rng = np.random.default_rng(4)
    image = cv2.GaussianBlur(rng.uniform(0, 255, (180, 200)).astype(np.float32), (0, 0), 5)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    fit = Fitted(
        model().neutral, head_to_camera(np.array(pose, float)), 4.0, np.array([100.0, 80.0]), np.array(pose, float)
    )
    return image, fit, fit.project(fit.rotation, fit.vertices)


def test_turning_by_nothing_changes_nothing(folder: Path) -> None:
    reposer = Reposer(model(), folder / "ict_facekit.npz")
    image, fit, flat = photograph((12, 5, -8))
    seen = reposer.points.read(flat, np.radians(-8))["2d68"][:, :2] + np.random.default_rng(0).normal(0, 1.5, (68, 2))
    result = reposer.repose(image, fit, seen, fit.pose)
    assert (
        np.abs(result.image.astype(int) - image).mean() < 1.0
    )  # sampled twice as fine and averaged back: a slight blur
    np.testing.assert_allclose(result.landmarks["2d68"][17:], seen[17:], atol=1e-3)  # what the fit missed is kept


def test_turned_face_carries_its_texture(folder: Path) -> None:
    reposer = Reposer(model(), folder / "ict_facekit.npz")
    image, fit, flat = photograph((10, 0, 0))
    seen = reposer.points.read(flat, 0.0)["2d68"][:, :2]
    result = reposer.repose(image, fit, seen, np.array([35.0, 0, 0]))
    want = reposer.points.read(fit.project(head_to_camera(np.array([35.0, 0, 0])), fit.vertices), 0.0)
    np.testing.assert_allclose(result.landmarks["3d68"], want["3d68"][:, :2], atol=1e-3)
    checked = 0
    for k in range(17, 68):  # a visible point shows the grey that it had
        if result.visible["3d68"][k]:
            (x, y), (x0, y0) = (
                np.rint(p).astype(int)
                for p in (result.landmarks["3d68"][k], reposer.points.read(flat, 0.0)["3d68"][k, :2])
            )
            assert abs(int(result.image[y, x]) - int(image[y0, x0])) < 25
            checked += 1
    assert checked > 25
    border = np.abs(result.image.astype(int) - image)[[0, -1]]
    assert border.mean() < 2  # the picture's edge stays


def test_real_skin_lands_where_its_points_are(folder: Path) -> None:
    """Dark spots on the picture's mouth corners and brow ends reach the layout's, though the fit misses."""
    reposer = Reposer(model(), folder / "ict_facekit.npz")
    _, fit, flat = photograph((8, 0, 0))
    fixed = reposer.points.read(flat, 0.0)["2d68"][:, :2]
    seen = fixed + np.array([3.0, -2.0])  # the face in the picture lies beside the fit
    image = np.full((180, 200), 160, np.uint8)
    spots = (17, 26, 48, 54)
    for k in spots:
        cv2.circle(image, tuple(np.rint(seen[k] * 16).astype(int).tolist()), 3 * 16, 30, -1, cv2.LINE_AA, 4)
    skin = take_skin(reposer, image, fit, seen, tone=0.4)
    assert skin.shape == (SIZE, SIZE) and np.isfinite(skin).all() and abs(float(np.median(skin)) - 0.4) < 0.1
    places = surface_points((BROW_UPPER, BROW_LOWER))["2d68"]
    for k in spots:
        u, v = np.rint(places[k - 17] * SIZE - 0.5).astype(int)
        window = skin[v - 15 : v + 16, u - 15 : u + 16]
        rows, columns = np.nonzero(window < 0.5 * np.median(skin))
        assert abs(rows.mean() - 15) < 4 and abs(columns.mean() - 15) < 4, k


def test_faces_turn_further_away() -> None:
    rng = np.random.default_rng(0)
    for yaw in (-40.0, -10.0, 0.0, 10.0, 40.0):
        new = np.array([further_pose(np.array([yaw, 0, 0]), rng)[0] for _ in range(20)])
        assert (np.abs(new) <= 88).all() and (np.abs(new) > abs(yaw)).all()
        if abs(yaw) > 8:
            assert (np.sign(new) == np.sign(yaw)).all()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "acdc_fast.training.synthesis", *arguments], capture_output=True, text=True
    )


def test_command_line(folder: Path, tmp_path: Path) -> None:
    lacking = run("--data-root", str(tmp_path), "--sheet", str(tmp_path / "s.png"))
    assert lacking.returncode == 2 and "ict_facekit.npz" in lacking.stderr and "Traceback" not in lacking.stderr
    done = run(
        "--data-root",
        str(folder),
        "--size",
        "64",
        "--sheet",
        str(tmp_path / "s.png"),
        "--points",
        "2d98",
        "--rows",
        "1",
        "--columns",
        "2",
    )
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(tmp_path / "s.png")).shape == (480, 2 * 480, 3)


REAL = os.environ.get("ACDC_DATA_ROOT")
needs_model = pytest.mark.skipif(not REAL, reason="ACDC_DATA_ROOT names no folder with ict_facekit.npz")


@needs_model
def test_points_lie_on_the_models_own() -> None:
    """Lips, lids and nostrils are the model's own 68 points. The others were moved to the places of real labels."""
    assert REAL
    real = load_model(Path(REAL))
    with np.load(Path(REAL) / "ict_facekit.npz") as file:
        own = real.neutral[file["landmarks68"]]
    person = make_person(real, 0)
    found = person.points.read(real.neutral, 0.0)
    for markup in ("2d68", "3d68"):
        distance = np.linalg.norm(found[markup] - own, axis=1)
        assert distance[31:].max() < 0.06, "cm"  # layout positions are rounded to four digits
        assert distance[17:31].max() < 1.2
    pupils = found["2d98"][96:98]
    for pupil, lids in zip(pupils, (found["2d98"][60:68], found["2d98"][68:76]), strict=True):
        assert (pupil[:2] > lids.min(0)[:2]).all() and (pupil[:2] < lids.max(0)[:2]).all()


@needs_model
def test_pose_fit_finds_the_rendered_pose() -> None:
    from acdc_fast.training.data.pose_fit import FaceModel, fit_pose

    assert REAL
    faces = synthetic(Path(REAL), "test")
    drawn = [faces.rendered(i * SHOTS) for i in range(24)]
    fit = fit_pose(
        np.stack([d.landmarks["3d68"] for d in drawn]), FaceModel.load(Path(REAL) / "ict_facekit.npz"), solid=True
    )
    error = np.abs(fit.pose - np.stack([d.pose for d in drawn]))
    assert np.median(error) < 3.0, "degrees: a weak-perspective fit of faces seen in perspective"
