"""Genuine files, where `ACDC_DATA_ROOT` names the folder that holds them (``formats/AFLW2000-3D`` and others)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from acdc_fast.photo.coordinates import square_from_points
from acdc_fast.training.data import open_database
from acdc_fast.training.data.pose_fit import FaceModel, fit_pose

ROOT = Path(os.environ.get("ACDC_DATA_ROOT", "/nowhere"))


def needs(*files: str) -> None:
    if "ACDC_DATA_ROOT" not in os.environ:
        pytest.skip("ACDC_DATA_ROOT is not set: it names the folder of genuine data")
    missing = [f for f in files if not (ROOT / f).exists()]
    if missing:
        pytest.skip(f"{ROOT} lacks {missing[0]}")


def test_pose_of_aflw2000_is_found_from_its_points() -> None:
    """Signs and order of the angles: the fit to the published points finds the published `Pose_Para`."""
    needs("formats/AFLW2000-3D", "ict_facekit.npz")
    database = open_database("aflw2000", ROOT / "formats")
    faces = [database[i] for i in range(len(database))]
    fit = fit_pose(np.stack([f.landmarks["3d68"] for f in faces]), FaceModel.load(ROOT / "ict_facekit.npz"), solid=True)
    published = np.stack([f.pose for f in faces if f.pose is not None])
    assert len(published) == len(faces) >= 4 and np.abs(published).max() > 30
    assert np.abs(fit.pose - published).max() < 4


def test_yaw_turns_the_nose_to_the_image_left() -> None:
    needs("formats/AFLW2000-3D")
    for face in open_database("aflw2000", ROOT / "formats"):
        points = face.landmarks["3d68"]
        assert face.pose is not None
        side = (points[30] - (points[36] + points[45]) / 2)[0]  # nose tip from the middle of the outer eye corners
        assert abs(face.pose[0]) < 10 or np.sign(side) == -np.sign(face.pose[0])


def test_68_points_of_frames_lie_inside_their_crops() -> None:
    needs("ytf68-train.tar")
    database = open_database("frames68", ROOT, "test", derived=False)
    points = np.stack([database.annotation(i).landmarks["2d68"] for i in range(len(database))])
    square = square_from_points(points)
    inside = (np.abs(points - square[:, None, :2]) < square[:, None, 2:3] / 2).all((1, 2))
    assert inside.mean() > 0.985
