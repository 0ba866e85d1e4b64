"""Readers on tiny files in the genuine formats: coordinates by hand, splits, and errors that name file and line."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.packed import MTFL, jpeg, pack
from scipy.io import savemat

from acdc_fast.errors import InputError
from acdc_fast.training.data import REGISTRY, open_database
from acdc_fast.training.data.database import Chosen
from acdc_fast.training.data.frames68 import is_held_out, person


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


FRAMES = "image," + ",".join(f"x{k},y{k}" for k in range(68))


def test_packed_mtfl(tmp_path: Path) -> None:
    pack(tmp_path / "mtfl-train.tar", [MTFL, "a/b.jpg,1.5,2,3,4,5,6,7,8,9,10,1,2,1,5"], ["a/b.jpg"])
    database = open_database("mtfl", tmp_path, derived=False)
    face = pickle.loads(pickle.dumps(database))[0]
    assert len(database) == 1 and database.markups == ("2d5",) and face.name == "a/b.jpg"
    assert face.landmarks["2d5"].tolist() == [[1.5, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    assert face.attributes == {"gender": 1, "smile": 2, "glasses": 1, "pose": 5}
    assert face.image.shape == (16, 20) and face.image.dtype == np.uint8 and abs(int(face.image[8, 8]) - 100) < 3
    assert face.pose is None and face.box is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.jpg,1,2,3,4,5,6,7,8,9,10,1,2,1", r"annotations\.csv:3: 14 numbers expected, 13 found"),
        ("a.jpg,1,2,3,x,5,6,7,8,9,10,1,2,1,3", r"annotations\.csv:3: could not convert"),
        ("a.jpg,1,2,3,nan,5,6,7,8,9,10,1,2,1,3", r"annotations\.csv:3: a number is not finite"),
        ("gone.jpg,1,2,3,4,5,6,7,8,9,10,1,2,1,3", r"annotations\.csv:3: picture gone\.jpg is not in mtfl-train\.tar"),
    ],
)
def test_packed_broken_line(tmp_path: Path, row: str, message: str) -> None:
    good = "a.jpg,1,2,3,4,5,6,7,8,9,10,1,2,1,3"
    pack(tmp_path / "mtfl-train.tar", [MTFL, good, row], ["a.jpg"])
    with pytest.raises(InputError, match=r"mtfl-train\.tar:" + message):
        open_database("mtfl", tmp_path, derived=False)
    database = open_database("mtfl", tmp_path, skip_broken=True, derived=False)
    assert len(database) == 1 and len(database.skipped) == 1 and "mtfl-train.tar" in database.skipped[0]


def test_packed_wrong_header_and_no_tar(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ytf68-train\.tar"):
        open_database("frames68", tmp_path, derived=False)
    write(tmp_path / "ytf68-train.tar", b"no tar at all")
    with pytest.raises(InputError, match=r"ytf68-train\.tar: cannot be read as a tar"):
        open_database("frames68", tmp_path, derived=False)
    pack(tmp_path / "ytf68-train.tar", [MTFL], [])
    with pytest.raises(InputError, match=r"annotations\.csv:1: columns"):
        open_database("frames68", tmp_path, derived=False)


@pytest.mark.parametrize("table", [b"\xff\xfe", b"a,b\0c\n" + b'"' + b"x" * 200_000])
def test_a_table_that_is_no_csv_is_named(tmp_path: Path, table: bytes) -> None:
    path = tmp_path / "mtfl-train.tar"
    pack(path, [MTFL, "a.jpg,1,2,3,4,5,6,7,8,9,10,1,2,1,3"], ["a.jpg"])
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("annotations.csv")
        info.size = len(table)
        tar.addfile(info, io.BytesIO(table))
    with pytest.raises(InputError, match=r"mtfl-train\.tar:annotations\.csv"):
        open_database("mtfl", tmp_path, derived=False)


def test_broken_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mtfl-train.tar"
    pack(path, [MTFL, "a.jpg,1,2,3,4,5,6,7,8,9,10,1,2,1,3"], ["a.jpg"])
    data = path.read_bytes()
    path.write_bytes(data.replace(jpeg(), b"\0" * len(jpeg())))
    with pytest.raises(InputError, match=r"mtfl-train\.tar:a\.jpg: not a picture"):
        open_database("mtfl", tmp_path, derived=False)[0]
    path.write_bytes(data.replace(jpeg()[-40:], b"\0" * 40))
    with pytest.raises(InputError, match=r"mtfl-train\.tar:a\.jpg: a JPEG that ends too early"):
        open_database("mtfl", tmp_path, derived=False)[0]
    database = open_database("mtfl", tmp_path, skip_broken=True, derived=False)
    assert len(database) == 0 and len(database.skipped) == 1 and "a.jpg" in database.skipped[0]


def test_frames_are_split_by_person(tmp_path: Path) -> None:
    names = [f"Some_Person{k}_{n}.jpg" for k in range(60) for n in range(2)]
    pack(tmp_path / "ytf68-train.tar", [FRAMES, *(f"{n},{','.join(['1'] * 136)}" for n in names)], names)
    parts = {s: open_database("frames68", tmp_path, s, derived=False) for s in ("train", "test", "all")}
    people = {s: {person(d.annotation(i).name) for i in range(len(d))} for s, d in parts.items()}
    assert people["train"].isdisjoint(people["test"]) and people["test"] and len(people["all"]) == 60
    assert len(parts["train"]) + len(parts["test"]) == len(parts["all"]) == 120
    assert person("x/Ann_B_Lee_12.jpg") == "Ann_B_Lee"
    # These never change: a person who was once held out must not enter a later training.
    assert [p for p in (f"Person{k}" for k in range(40)) if is_held_out(p)] == [f"Person{k}" for k in (22, 26, 32, 36)]


def test_mtfl_lists(tmp_path: Path) -> None:
    write(tmp_path / "training.txt", " lfw_5590\\A.jpg 11 21 31 41 51 12 22 32 42 52 1 2 2 3\n\n")
    write(tmp_path / "lfw_5590/A.jpg", jpeg())
    face = open_database("mtfl", tmp_path, "train", derived=False)[0]
    # The list gives all x, then all y, from 1.
    assert face.landmarks["2d5"].tolist() == [[10, 11], [20, 21], [30, 31], [40, 41], [50, 51]]
    assert face.attributes["pose"] == 3


def wflw_line(first: int, flags: str, picture: str) -> str:
    return " ".join([*(str(first + k) for k in range(196)), "1 2 30 40", flags, picture])


def test_wflw(tmp_path: Path) -> None:
    lists = tmp_path / "WFLW_annotations/list_98pt_rect_attr_train_test"
    lines = [wflw_line(0, "0 0 1 0 0 1", "d/a.jpg"), wflw_line(5, "1 0 0 0 0 0", "d/a.jpg")]
    write(lists / "list_98pt_rect_attr_test.txt", "\n".join(lines))
    write(tmp_path / "WFLW_images/d/a.jpg", jpeg())
    faces = open_database("wflw", tmp_path, "test")
    assert len(faces) == 2 and faces[0].name != faces[1].name and faces.markups == ("2d98",)
    assert faces[1].landmarks["2d98"][0].tolist() == [5, 6] and faces[1].landmarks["2d98"][97].tolist() == [199, 200]
    assert faces[0].attributes["rect"].tolist() == [1, 2, 30, 40]
    sizes = {s: len(open_database("wflw", tmp_path, s)) for s in REGISTRY["wflw"][2] if s != "train"}
    assert sizes == {"test": 2, "pose": 1, "expression": 0, "illumination": 1, "make-up": 0, "occlusion": 0, "blur": 1}
    assert open_database("wflw", tmp_path, "pose")[0].landmarks["2d98"][0].tolist() == [5, 6]
    write(lists / "list_98pt_rect_attr_train.txt", lines[0] + "\n" + wflw_line(0, "0 0 1 0 0 1", "d/b.jpg"))
    with pytest.raises(InputError, match=r"list_98pt_rect_attr_train\.txt:2: picture .*b\.jpg is missing"):
        open_database("wflw", tmp_path)
    assert len(open_database("wflw", tmp_path, skip_broken=True)) == 1


def celeba(root: Path, folder: str, landmarks: str) -> None:
    columns = " ".join(f"{p}_{a}" for p in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for a in "xy")
    rows = [f"00000{k}.jpg  {k}9  109  106  113   77  142   73  152  108  154" for k in (1, 2, 3)]
    write(root / "Anno" / landmarks, "\n".join(["3", columns, *rows]) + "\n")
    write(root / "Anno/list_bbox_celeba.txt", "3\nimage_id x_1 y_1 width height\n" + "".join(
        f"00000{k}.jpg    95  71  {k}26  313\n" for k in (1, 2, 3)))  # fmt: skip
    write(root / "Eval/list_eval_partition.txt", "000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n")
    for k in (1, 2, 3):
        write(root / folder / f"00000{k}.jpg", jpeg())


def test_celeba_aligned(tmp_path: Path) -> None:
    celeba(tmp_path, "img_align_celeba", "list_landmarks_align_celeba.txt")
    parts = {s: open_database("celeba", tmp_path, s) for s in ("train", "val", "test")}
    assert {s: d.annotation(0).name for s, d in parts.items()} == {
        "train": "000001.jpg", "val": "000002.jpg", "test": "000003.jpg",
    }  # fmt: skip
    assert all(len(d) == 1 for d in parts.values())
    face = parts["val"][0]
    assert face.landmarks["2d5"].tolist() == [[29, 109], [106, 113], [77, 142], [73, 152], [108, 154]]
    assert "rect" not in face.attributes  # the rectangles are those of the pictures in the wild


def test_celeba_wild(tmp_path: Path) -> None:
    celeba(tmp_path, "img_celeba", "list_landmarks_celeba.txt")
    face = open_database("celeba", tmp_path, "test")[0]
    assert face.attributes["rect"].tolist() == [95, 71, 95 + 326, 71 + 313] and face.box is None


def test_celeba_count_and_line(tmp_path: Path) -> None:
    celeba(tmp_path, "img_align_celeba", "list_landmarks_align_celeba.txt")
    path = tmp_path / "Anno/list_landmarks_align_celeba.txt"
    path.write_text(path.read_text().replace("000001.jpg  19", "000001.jpg"))
    with pytest.raises(InputError, match=r"list_landmarks_align_celeba\.txt:3: 10 numbers expected, 9 found"):
        open_database("celeba", tmp_path)
    path.write_text("4\n" + path.read_text().split("\n", 1)[1])
    with pytest.raises(InputError, match=r"celeba\.txt:1: 4 faces announced, 3 found"):
        open_database("celeba", tmp_path)


PTS = "version: 1\nn_points:  68\n{\n" + "".join(f"{k + 1}.5 {2 * k + 1}\n" for k in range(68)) + "}\n"


def test_300w(tmp_path: Path) -> None:
    for folder in ("LFPW/trainset", "HELEN/trainset", "AFW", "IBUG", "LFPW/testset", "HELEN/testset"):
        write(tmp_path / folder / "f_1.pts", PTS)
        write(tmp_path / folder / "f_1.png", cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes())
    found = {s: open_database("300w", tmp_path, s) for s in REGISTRY["300w"][2]}
    assert {s: len(d) for s, d in found.items()} == {"train": 3, "test": 3, "lfpw": 1, "helen": 1, "ibug": 1}
    names = {s: {d.annotation(i).name for i in range(len(d))} for s, d in found.items()}
    assert names["train"].isdisjoint(names["test"])
    points = found["ibug"][0].landmarks["2d68"]
    assert points[0].tolist() == [0.5, 0] and points[67].tolist() == [67.5, 134]  # from 1 → from 0
    broken = tmp_path / "IBUG/f_1.pts"
    broken.write_text(PTS.replace("2.5 3\n", "2.5\n"))
    with pytest.raises(InputError, match=r"f_1\.pts:5: 2 numbers expected, 1 found"):
        found["ibug"].annotation(0)
    broken.write_text(PTS.replace("2.5 3\n", ""))
    with pytest.raises(InputError, match=r"f_1\.pts:71: 68 points expected, 67 found"):
        found["ibug"].annotation(0)
    skipping = open_database("300w", tmp_path, "ibug", skip_broken=True)
    assert len(skipping) == 0 and len(skipping.skipped) == 1


def mat(path: Path, name: str = "pt3d_68") -> None:
    points = np.stack([np.arange(1, 69), np.arange(101, 169), np.zeros(68)]).astype(np.float32)
    pose = np.array([[0.1, -0.2, 0.3, 5, 6, 7, 1e-3]], np.float32)  # pitch, yaw, roll
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {name: points if name == "pt3d_68" else points[:2], "Pose_Para": pose})
    write(path.with_suffix(".jpg"), jpeg())


def test_aflw2000(tmp_path: Path) -> None:
    mat(tmp_path / "AFLW2000/image00002.mat")
    face = open_database("aflw2000", tmp_path)[0]
    assert face.landmarks["3d68"][0].tolist() == [0, 100] and face.landmarks["3d68"].shape == (68, 2)
    assert face.pose is not None
    assert np.allclose(face.pose, np.rad2deg([-0.2, 0.1, 0.3]), atol=1e-4)  # yaw, pitch, roll
    savemat(tmp_path / "AFLW2000/image00002.mat", {"pt3d_68": np.zeros((3, 68))})
    with pytest.raises(InputError, match=r"image00002\.mat: field Pose_Para is missing"):
        open_database("aflw2000", tmp_path).annotation(0)
    write(tmp_path / "AFLW2000/image00002.mat", b"not a mat file")
    with pytest.raises(InputError, match=r"image00002\.mat: not a \.mat file"):
        open_database("aflw2000", tmp_path).annotation(0)
    assert len(open_database("aflw2000", tmp_path, skip_broken=True)) == 0


def test_300wlp_splits_by_the_origin(tmp_path: Path) -> None:
    for file in ("HELEN/HELEN_10_1_0", "HELEN/HELEN_10_1_12", "HELEN_Flip/HELEN_11_1_0", "IBUG/IBUG_image_003_0",
                 "LFPW/LFPW_image_test_0001_3", "LFPW/LFPW_image_train_0001_3", "AFW_Flip/AFW_134212_1_0"):  # fmt: skip
        mat(tmp_path / f"300W_LP/{file}.mat", "pt2d")
    assert len(open_database("300wlp", tmp_path, "all")) == 7
    with pytest.raises(InputError, match="helen"):
        open_database("300wlp", tmp_path, "test")
    write(tmp_path / "helen/testset/10_1.pts", PTS)
    test = open_database("300wlp", tmp_path, "test")
    assert {test.annotation(i).name for i in range(len(test))} == {
        "HELEN/HELEN_10_1_0.jpg", "HELEN/HELEN_10_1_12.jpg", "IBUG/IBUG_image_003_0.jpg",
        "LFPW/LFPW_image_test_0001_3.jpg",
    }  # fmt: skip
    assert len(open_database("300wlp", tmp_path, "train")) == 3
    assert test[0].landmarks["3d68"][0].tolist() == [0, 100]


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown database 'mtlf'; known: 300w"):
        open_database("mtlf", tmp_path)
    with pytest.raises(InputError, match="mtfl has splits train, dev, test, not 'held-out'"):
        open_database("mtfl", tmp_path, "held-out")


def test_sequence(tmp_path: Path) -> None:
    names = [f"{k}.jpg" for k in range(5)]
    rows = [f"{n},{k},2,3,4,5,6,7,8,9,10,1,2,1,3" for k, n in enumerate(names)]
    pack(tmp_path / "mtfl-train.tar", [MTFL, *rows], names)
    database = open_database("mtfl", tmp_path, derived=False)
    assert database[-1].name == "4.jpg" and [s.name for s in database[1:3]] == ["1.jpg", "2.jpg"]
    assert isinstance(database[1:3], Chosen) and len(database[4:]) == 1
    with pytest.raises(IndexError, match="face 5 asked for, but there are 5"):
        database[5]
