"""Derived labels: the box that belongs to the face, and a cache that never returns another database's."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from acdc_fast.detector import pyramid
from acdc_fast.errors import AcdcError, InputError
from acdc_fast.photo import detection, libfacedetection
from acdc_fast.photo.coordinates import box_from_points
from acdc_fast.training.data import derived
from acdc_fast.training.data.database import Database, Extended, Table
from acdc_fast.training.data.pictures import FolderPictures

FIVE = np.array([[85, 100], [115, 101], [102, 120], [90, 140], [110, 139]], np.float32)


def table(count: int = 3, shift: float = 0.0) -> Table:
    names = [f"{k}.jpg" for k in range(count)]
    points = FIVE + np.arange(count)[:, None, None] + np.float32(shift)
    return Table("t", "train", FolderPictures(Path("nowhere")), names, names, {"2d5": points})


def test_match_takes_the_box_of_the_face() -> None:
    expected = box_from_points(FIVE[None])[0]
    near = expected + np.array([3, -2, 5, 4])
    beside = expected + np.array([120, 0, 120, 0])
    grown = expected + np.array([-60, -60, 60, 60])
    assert np.allclose(derived.match(np.stack([beside, near, grown]), expected), near, atol=1e-4)
    assert np.isnan(derived.match(np.stack([beside, grown]), expected)).all()
    assert np.isnan(derived.match(np.empty((0, 4)), expected)).all()


def test_extended_faces() -> None:
    base = table()
    boxes, poses = np.full((3, 4), np.nan), np.full((3, 3), np.nan)
    boxes[1], poses[2] = (1, 2, 3, 4), (5, 6, 7)
    more = Extended(base, boxes, poses, {"3d68": np.ones((3, 68, 2))}, {"3d68": np.zeros((3, 68))})
    faces = [more.annotation(i) for i in range(3)]
    assert [f.box is None for f in faces] == [True, False, True] and faces[1].box is not None
    assert faces[1].box.tolist() == [1, 2, 3, 4]
    assert [f.pose is None for f in faces] == [True, True, False]
    assert more.markups == ("2d5", "3d68") and faces[0].weights["3d68"].sum() == 0
    assert (faces[0].landmarks["2d5"] == base.annotation(0).landmarks["2d5"]).all()
    with pytest.raises(InputError, match="2 boxes for 3 faces"):
        Extended(base, boxes[:2])


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ACDC_CACHE", str(tmp_path))
    made: list[int] = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"boxes": np.full((3, 4), len(made), np.float32)}

    assert derived._cached(table(), "boxes", make)["boxes"][0, 0] == 1
    assert derived._cached(table(), "boxes", make)["boxes"][0, 0] == 1 and len(made) == 1  # from the file
    assert derived._cached(table(shift=1), "boxes", make)["boxes"][0, 0] == 2  # other points, another file
    assert derived._cached(table(), "fit", make)["boxes"][0, 0] == 3
    for path in tmp_path.glob("t-boxes-*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    assert derived._cached(table(), "boxes", make)["boxes"][0, 0] == 4  # half a file is never read
    assert "it is made again" in capsys.readouterr().err
    for path in tmp_path.glob("t-fit-*.npz"):
        path.write_bytes(b"")
    assert derived._cached(table(), "fit", make)["boxes"][0, 0] == 5


def test_a_process_that_is_killed_ends_the_search_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived, "_one_thread", partial(os._exit, 1))
    with pytest.raises(AcdcError, match="t: a process that looks for the faces' boxes ended, as for want of memory"):
        derived.detected_boxes(table(200))


def test_boxes_of_another_detector_are_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither after a change of the weights, nor after a change of the default detector."""
    monkeypatch.setenv("ACDC_CACHE", str(tmp_path))
    files = {name: tmp_path / name for name in ("library", "own")}
    for name, file in files.items():
        file.write_bytes(name.encode())
    monkeypatch.setattr(libfacedetection, "library_file", lambda: files["library"])
    monkeypatch.setattr(pyramid, "WEIGHTS", files["own"])
    made: list[str] = []
    search = detection.Search

    def detected(database: Database) -> np.ndarray:
        made.append("")
        return np.full((3, 4), len(made), np.float32)

    def first() -> float:
        box = derived.with_boxes(table()).annotation(0).box
        assert box is not None
        return float(box[0])

    monkeypatch.setattr(derived, "detected_boxes", detected)
    assert [first(), first()] == [1, 1]
    for number, name in enumerate(files, 2):  # by default both look
        files[name].write_bytes(name.encode() + b", new weights")
        assert first() == number
    for number, name in enumerate(files, 4):
        monkeypatch.setattr(detection, "Search", partial(search, name))
        assert first() == number
        for other, file in files.items():
            if other != name:
                file.write_bytes(file.read_bytes() + b"!")
        assert first() == number


def test_missing_pictures_leave_faces_without_a_box() -> None:
    assert np.isnan(derived.detected_boxes(table())).all()
