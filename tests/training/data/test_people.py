"""Readers of people's 68 points with flags, and of LFW's ten, on small files; points without a loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.packed import MTFL, pack
from helpers.people import HEADER, row

from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS, mirrored_points
from acdc_fast.training.data import aflw_pose, open_database
from acdc_fast.training.data.aflw68 import COVERED
from acdc_fast.training.data.lfw10 import COLUMNS as TEN_COLUMNS
from acdc_fast.training.data.lfw10 import OFFSETS
from acdc_fast.training.loop.losses import landmark_loss, points_for
from acdc_fast.training.sampling.augment import crop_face
from acdc_fast.training.sampling.batches import moved
from acdc_fast.training.settings import Source


def test_flags_decide_what_a_point_weighs(tmp_path: Path) -> None:
    flags = [0] * 68
    flags[3], flags[16] = 1, 2
    pack(tmp_path / "aflw68-train.tar", [HEADER, row("a.jpg", flags), row("b.jpg", None)], ["a.jpg", "b.jpg"])
    faces = open_database("aflw68", tmp_path, derived=False)
    face = faces[0]
    assert len(faces) == 1 and face.name == "a.jpg" and set(face.landmarks) == {"2d5", "2d68"}
    assert face.landmarks["2d68"][7].tolist() == [7.5, 14] and np.isnan(face.landmarks["2d68"][16]).all()
    assert face.landmarks["2d5"].tolist() == np.arange(10, 20).reshape(5, 2).tolist()
    wanted = np.ones(68, np.float32)
    wanted[3], wanted[16] = COVERED, 0
    assert face.weights["2d68"].tolist() == wanted.tolist() and face.attributes["flags-2d68"].tolist() == flags
    assert len(face.finest) == 5, "the 68 have an unknown point, so the crop is cut by the five"
    five = open_database("aflw68", tmp_path, "five", derived=False)
    assert [f.name for f in five] == ["b.jpg"] and set(five[0].landmarks) == {"2d5"}


def test_points_turned_away_carry_no_loss(tmp_path: Path) -> None:
    flags = [0] * 68
    flags[0] = 2
    pack(tmp_path / "aflw68-train.tar", [HEADER, row("a.jpg", flags)], ["a.jpg"])
    sample = open_database("aflw68", tmp_path, derived=False)[0]
    for seed in range(6):  # some are mirrored: there point 0 is point 16
        crop = crop_face(sample, 32, np.random.default_rng(seed))
        gone = 16 if crop.mirrored else 0
        assert np.isnan(crop.landmarks["2d68"][gone]).all() and crop.weights["2d68"][gone] == 0
        target, weights = (torch.from_numpy(v["2d68"])[None] for v in (crop.landmarks, crop.weights))
        predicted = torch.zeros(1, 68, 2, requires_grad=True)
        landmark_loss(predicted, target, weights).backward()
        assert predicted.grad is not None and torch.isfinite(predicted.grad).all()
        assert (predicted.grad[0, gone] == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.replace("1.25", "x"), r"annotations\.csv:2: could not convert"),
        (lambda r: r + ",1", r"annotations\.csv:2: 216 columns|annotations\.csv:2: 217 columns expected, 218 found"),
        (lambda r: r.replace("4.5,8,", ",,", 1), r"annotations\.csv:2: point 4: the flag and the place disagree"),
        (lambda r: r[: -len("0,3,1.25")] + "5,3,1.25", r"annotations\.csv:2: a flag is 0"),
        (lambda r: r.replace("a.jpg", "gone.jpg"), r"annotations\.csv:2: picture gone\.jpg is not in"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    pack(tmp_path / "aflw68-train.tar", [HEADER, change(row("a.jpg", [0] * 68))], ["a.jpg"])
    with pytest.raises(InputError, match=message):
        open_database("aflw68", tmp_path, derived=False)
    assert len(open_database("aflw68", tmp_path, skip_broken=True, derived=False)) == 0


def test_development_list_lies_beside_its_pictures(tmp_path: Path) -> None:
    pack(tmp_path / "mtfl-aflw-dev.tar", [MTFL], ["a.jpg"])
    with pytest.raises(InputError, match=r"mtfl-aflw-dev-68\.csv: cannot be read"):
        open_database("aflw68", tmp_path, "dev", derived=False)
    (tmp_path / "mtfl-aflw-dev-68.csv").write_text("\n".join([HEADER, row("a.jpg", [0] * 68)]))
    assert open_database("aflw68", tmp_path, "dev", derived=False)[0].image.shape == (16, 20)
    (tmp_path / "mtfl-aflw-dev-68.csv").write_text("image,x0")
    with pytest.raises(InputError, match=r"mtfl-aflw-dev-68\.csv:1: columns image,x0"):
        open_database("aflw68", tmp_path, "dev", derived=False)


def test_ten_points_without_their_constant_offsets(tmp_path: Path) -> None:
    ten = np.array(
        [[20, 40], [40, 42], [30, 80], [60, 81], [46, 90], [45, 75], [60, 41], [80, 44], [40, 60], [58, 61.0]]
    )
    values = ",".join(str(v) for v in ten.ravel())
    pack(tmp_path / "mtfl-train.tar", [MTFL, "a.jpg,1,2,3,4,5,6,7,8,9,10,1,2,1,3"], ["a.jpg"])
    (tmp_path / "mtfl-train-lfw10.csv").write_text(f"{','.join(TEN_COLUMNS)}\na.jpg,{values},0,3,1.5\n")
    face = open_database("lfw10", tmp_path, derived=False)[0]
    assert face.weights["2d10"].tolist() == [1] * 8 + [0] * 2, "the wings of the nose are no points of the 68"
    along = ten[7] - ten[0]  # of the outer eye corners; across is a quarter turn clockwise in the picture
    wanted = ten - OFFSETS[:, :1] * along - OFFSETS[:, 1:] * np.array([-along[1], along[0]])
    assert np.allclose(face.landmarks["2d10"], wanted, atol=1e-4) and len(face.finest) == 5
    (tmp_path / "mtfl-train-lfw10.csv").write_text(f"{','.join(TEN_COLUMNS)}\nb.jpg,{values},0,3,1.5\n")
    with pytest.raises(InputError, match=r"mtfl-train-lfw10\.csv:2: b\.jpg is not in"):
        open_database("lfw10", tmp_path, derived=False)


def test_offsets_of_the_ten_favour_no_side() -> None:
    """Mirror test: the offsets of a mirrored face are the mirrored offsets, to the rounding of the table."""
    assert np.allclose(OFFSETS * (-1, 1), OFFSETS[MARKUPS["2d10"].mirror], atol=1e-9)


def test_ten_points_are_means_of_the_maps_points() -> None:
    points = torch.rand(2, 68, 2, requires_grad=True)
    ten = points_for("2d10", {"2d68": points})
    assert ten is not None and ten.shape == (2, 10, 2)
    assert torch.equal(ten[:, 0], points[:, 36]) and torch.allclose(ten[:, 5], (points[:, 51] + points[:, 62]) / 2)
    ten[:, 5].sum().backward()
    assert points.grad is not None and sorted(set(points.grad.nonzero()[:, 1].tolist())) == [51, 62]
    assert points_for("2d10", {"2d5": torch.zeros(1, 5, 2)}) is None
    mirrored = points_for("2d10", {"2d68": torch.from_numpy(mirrored_points(points.detach().numpy(), "2d68"))})
    assert mirrored is not None and np.allclose(
        mirrored[:, :8], mirrored_points(ten.detach().numpy(), "2d10")[:, :8], atol=1e-6
    )


def test_labels_move_by_markup(tmp_path: Path) -> None:
    pack(tmp_path / "aflw68-train.tar", [HEADER, row("a.jpg", [0] * 68)], ["a.jpg"])
    sample = open_database("aflw68", tmp_path, derived=False)[0]
    after = moved(sample, Source("aflw68", shift=(1.0, 0.0), shifts={"2d5": (-2.5, 0.5)}))
    assert (after.landmarks["2d5"] - sample.landmarks["2d5"] == np.array([-2.5, 0.5], np.float32)).all()
    assert (after.landmarks["2d68"] - sample.landmarks["2d68"] == np.array([1, 0], np.float32)).all()


def test_poses_of_the_development_list(tmp_path: Path) -> None:
    pack(tmp_path / "mtfl-aflw-dev.tar", [MTFL], ["a.jpg", "b.jpg"])
    path = tmp_path / "mtfl-aflw-dev-pose.csv"
    points = [",".join(f"{k + n},{2 * k},{-k}" for k in range(68)) for n in (0, 0.5)]
    rows = [f"a.jpg,10.5,-20,3,1.5,3,{points[0]}", f"b.jpg,-1,2,-3,1.5,4,{points[1]}"]
    path.write_text("\n".join([",".join(aflw_pose.COLUMNS), *rows]))
    faces = open_database("aflw-pose", tmp_path, derived=False)
    poses = [faces.annotation(i).pose for i in range(2)]
    assert np.array_equal(np.array(poses), [[10.5, -20, 3], [-1, 2, -3]])
    assert faces[1].landmarks["3d68"][:2].tolist() == [[0.5, 0], [1.5, 2]] and faces[1].attributes["pose"] == 4
    path.write_text("\n".join([",".join(aflw_pose.COLUMNS), rows[0].replace("10.5", "x")]))
    with pytest.raises(InputError, match=r"mtfl-aflw-dev-pose\.csv:2: could not convert"):
        open_database("aflw-pose", tmp_path, derived=False)
    path.unlink()
    with pytest.raises(InputError, match=r"mtfl-aflw-dev-pose\.csv: cannot be read"):
        open_database("aflw-pose", tmp_path, derived=False)
