"""Faces of one's own, from a CSV and from COCO's keypoints: every field, and what is wrong is told with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from acdc_fast.errors import InputError
from acdc_fast.markup_tables import read_markup, registered
from acdc_fast.training.data import open_database
from acdc_fast.training.sampling.augment import crop_face

RNG = np.random.default_rng(0)
POINTS = RNG.uniform(10, 50, (2, 5, 2)).round(2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for k in range(2):
        cv2.imwrite(str(tmp_path / "pictures" / f"{k}.png"), np.full((60, 60 + 10 * k), 50 + 100 * k, np.uint8))
    return tmp_path


def write_csv(root: Path, rows: list[list[object]], header: list[str] | None = None) -> None:
    names = [f"2d5_{axis}{k}" for k in range(5) for axis in "xy"]
    header = ["image", "x0", "y0", "x1", "y1", *names, "note"] if header is None else header
    lines = [",".join(map(str, row)) for row in [header, *rows]]
    (root / "faces-train.csv").write_text("\n".join(lines), encoding="utf-8")


def row(k: int, box: list[object], points: list[object], note: str = "") -> list[object]:
    return [f"pictures/{k}.png", *box, *points, note]


def coco(root: Path, **changes: Any) -> dict[str, Any]:
    flags = np.full((2, 5, 1), 2.0)
    flags[1, 3] = 0
    told: dict[str, Any] = {
        "images": [{"id": 7 + k, "file_name": f"pictures/{k}.png", "width": 60, "height": 60} for k in range(2)],
        "categories": [{"id": 3, "name": "face", "keypoints": list("abcde")}, {"id": 4, "name": "car"}],
        "annotations": [
            {"image_id": 8 - k, "category_id": 3, "bbox": [5, 6, 40, 45],
             "keypoints": np.concatenate([POINTS[k], flags[k]], 1).ravel().tolist()}
            for k in range(2)
        ] + [{"image_id": 7, "category_id": 4, "bbox": [0, 0, 5, 5]}],
    }  # fmt: skip
    told |= changes
    (root / "coco-train.json").write_text(json.dumps(told))
    return told


def test_csv(root: Path) -> None:
    second = POINTS[1].ravel().tolist()
    second[6:8] = ["", ""]  # the left mouth corner is unknown
    write_csv(root, [row(1, ["", "", "", ""], POINTS[0].ravel().tolist()), row(0, [5, 6, 45, 51], second, "x")])
    faces = open_database("csv", root)
    assert len(faces) == 2 and faces.markups == ("2d5",)
    first, other = faces[0], faces[1]
    assert first.image.shape == (60, 70) and first.image[0, 0] == 150 and first.name == "pictures/1.png"
    assert np.allclose(first.landmarks["2d5"], POINTS[0]) and (first.weights["2d5"] == 1).all() and first.box is None
    assert other.image.shape == (60, 60) and np.allclose(other.box, [5, 6, 45, 51])
    assert other.weights["2d5"].tolist() == [1, 1, 1, 0, 1] and np.isnan(other.landmarks["2d5"][3]).all()
    assert np.allclose(np.delete(other.landmarks["2d5"], 3, 0), np.delete(POINTS[1], 3, 0))
    crop = crop_face(other, 32)  # as training takes it: an unknown point counts nothing
    assert np.isfinite(crop.landmarks["2d5"][[0, 1, 2, 4]]).all() and crop.weights["2d5"][3] == 0


def test_coco(root: Path) -> None:
    coco(root)
    faces = open_database("coco", root)
    assert len(faces) == 2 and faces[0].name == "pictures/1.png" and faces[1].image[0, 0] == 50
    assert np.allclose(faces[0].landmarks["2d5"], POINTS[0]) and np.allclose(faces[0].box, [5, 6, 45, 51])
    assert faces[1].weights["2d5"].tolist() == [1, 1, 1, 0, 1]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(0, [1, 1, 9, 9], ["no"] * 10)], r"csv:2: column 2d5_x0 holds 'no'"),
        ([row(0, [9, 1, 1, 9], [5] * 10)], r"csv:2: the box"),
        ([row(0, ["", "", "", ""], [""] + [5] * 9)], r"csv:2: a face without a box"),
        ([row(0, [1, 1, 9, 9], [""] * 10)], r"csv:2: no point"),
        ([row(0, [20, 20, 50, 50], [30] * 7 + [1e9] + [30] * 2)], r"csv:2: point 3 of 2d5, at 30, 1e\+09, lies far"),
        ([row(0, [40, 20, 50, 30], [0.4] * 10)], r"csv:2: point 0 of 2d5, at 0.4, 0.4, lies far outside the box"),
        ([row(0, [1, 1, 9, 9], [5] * 10), row(4, [1, 1, 9, 9], [5] * 10)], r"csv:3: there is no picture 'pictures/4"),
        ([["../x.png", 1, 1, 9, 9, *[5] * 10]], r"csv:2: there is no picture"),
        ([], "lists no face"),
    ],
)
def test_wrong_rows_are_named_or_left_out(root: Path, rows: list[list[object]], said: str) -> None:
    write_csv(root, rows)
    with pytest.raises(InputError, match=said):
        open_database("csv", root)
    if rows:
        write_csv(root, [*rows, row(1, [1, 1, 50, 50], POINTS[0].ravel().tolist())])
        faces = open_database("csv", root, skip_broken=True)
        assert len(faces.skipped) == 1 and faces[len(faces) - 1].name == "pictures/1.png"


def test_wrong_headers_and_files(root: Path) -> None:
    with pytest.raises(InputError, match=r"faces-dev\.csv: cannot be read"):
        open_database("csv", root, "dev")
    write_csv(root, [], ["image", "2d5_x0", "2d5_y0"])
    with pytest.raises(InputError, match="column 2d5_x1 is missing"):
        open_database("csv", root)
    names = [f"2d5_{axis}{k}" for k in range(5) for axis in "xy"]
    for header, said in (
        (["image", "left"], "2d68_x0"),
        (["image", "2d-fiv_x0"], "no markup is named '2d-fiv', known are .*2d68"),
        (["image", "x0", "y0", "w", "h", *names], "a box has all of the columns x0, y0, x1, y1, or none"),
    ):
        write_csv(root, [], header)
        with pytest.raises(InputError, match=said):
            open_database("csv", root)
    for changes, said in (
        ({"images": None}, "images, annotations and categories"),
        ({"categories": [{"id": 3, "name": "2d68", "keypoints": list("abcde")}]}, "2d68 has 5 keypoints"),
        ({"categories": [{"id": 3, "name": "face", "keypoints": list("abc")}]}, "no markup has 3 points"),
        ({"categories": []}, "of one markup"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "keypoints": [1, 2]}]}, "0: .*holds 2 numbers, not 15"),
        ({"annotations": [{"image_id": 99, "category_id": 3, "keypoints": [1, 2]}]}, "0: .*99 is none of the images"),
    ):
        coco(root, **changes)
        with pytest.raises(InputError, match=said):
            open_database("coco", root)
    (root / "coco-train.json").write_text("[" * 100000)
    with pytest.raises(InputError, match=r"coco-train\.json"):
        open_database("coco", root)


def test_exchanged_sides_are_told_of(root: Path) -> None:
    """Of ten faces or more, where most have their outer eye corners the other way round."""
    right, left = [[20, 20, 40, 20, 30, 30, 25, 40, 35, 40], [40, 20, 20, 20, 30, 30, 35, 40, 25, 40]]
    for wrong, faces, refused in ((5, 10, False), (6, 10, True), (9, 9, False)):
        write_csv(root, [row(0, [10, 10, 50, 50], left if k < wrong else right) for k in range(faces)])
        if refused:
            with pytest.raises(InputError, match="train: in 6 of 10 faces point 0 of 2d5 is right of point 1"):
                open_database("csv", root)
        else:
            assert len(open_database("csv", root)) == faces


def test_a_markup_of_ones_own(root: Path) -> None:
    """Its names tell COCO's keypoints from those of a markup with as many points, and no box is made up for it."""
    owl = {"name": "2d-owl", "points": list("abcde"), "mirror_pairs": [[0, 1]]}
    with pytest.raises(RuntimeError, match="forget"), registered([read_markup(owl, "here")], "here"):
        coco(root)
        assert open_database("coco", root).markups == ("2d-owl",)
        coco(root, categories=[{"id": 3, "name": "2d-owl", "keypoints": list("abced")}])
        with pytest.raises(InputError, match="category 2d-owl: keypoint 3 is 'e', that of the markup 2d-owl is 'd'"):
            open_database("coco", root)
        coco(root, categories=[{"id": 3, "name": "face", "keypoints": list("abxde")}])  # not silently 2d5
        with pytest.raises(InputError, match="category 'face': keypoint 2 is 'x', that of the markup 2d-owl is 'c'"):
            open_database("coco", root)
        coco(root, categories=[{"id": 3, "name": "2d5", "keypoints": list("abxde")}])
        assert open_database("coco", root).markups == ("2d5",)
        names = [f"2d-owl_{axis}{k}" for k in range(5) for axis in "xy"]
        header = ["image", "x0", "y0", "x1", "y1", *names]
        points = POINTS[0].ravel().tolist()
        write_csv(root, [["pictures/0.png", 1, 2, 50, 51, *points]], header)
        faces = open_database("csv", root)
        assert np.allclose(faces[0].landmarks["2d-owl"], POINTS[0]) and np.allclose(faces[0].box, [1, 2, 50, 51])
        write_csv(root, [["pictures/0.png", "", "", "", "", *points]], header)
        with pytest.raises(InputError, match="csv:2: a face without a box needs a markup whose eyes, nose and mouth"):
            open_database("csv", root)
        raise RuntimeError("forget")
