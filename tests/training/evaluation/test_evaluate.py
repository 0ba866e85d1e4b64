"""Evaluation as a user calls it, on drawn faces and small random weights."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.faces import find_by_hand, write_faces, write_weights

from acdc_fast import ACDCConfig, Model
from acdc_fast.bundled import bundled
from acdc_fast.errors import InputError
from acdc_fast.training.evaluation import evaluate
from acdc_fast.training.observations import observe_align, observe_crops
from acdc_fast.training.sampling.augment import face_square
from acdc_fast.training.sampling.batches import open_source
from acdc_fast.training.settings import Source
from acdc_fast.weights import load_weights

CONFIG = ACDCConfig(width=4, stages=2, markups=("2d5", "3d68"))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    find_by_hand(monkeypatch, tmp_path / "cache", widest=6)  # where an untrained network is right now and then
    write_weights(tmp_path / "w.safetensors", CONFIG, resolution="32")
    return write_faces(tmp_path, 24)


def run(root: Path, *more: str) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    return evaluate.run(
        parser.parse_args([str(root / "w.safetensors"), "--data-root", str(root), "--device", "cpu", *more])
    )


def test_mirror_images_are_seen_through_align(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = {}
    for more in ((), ("--mirror",)):
        assert run(root, "--databases", "mtfl/train", "--detector", "--json", *more) == 0
        told[more] = json.loads(capsys.readouterr().out)
    plain, both = told[()], told["--mirror",]
    assert (plain["mirror"], both["mirror"]) == (False, True)
    alone, mean = (one["databases"]["mtfl/train"]["markups"]["2d5"]["nme"] for one in (plain, both))
    assert alone != mean
    with pytest.raises(InputError, match="--mirror needs --detector"):
        run(root, "--databases", "mtfl/train", "--mirror")


def test_json_and_tables_tell_the_same(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "--databases", "mtfl/train", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["resolution"] == 32  # the weights' own
    values = told["databases"]["mtfl/train"]
    assert values["faces"] == 24
    network, _ = evaluate.load_network(root / "w.safetensors")
    database = open_source(Source("mtfl", "train"), root)
    seen = observe_crops(network, database, 32, torch.device("cpu"))
    target, _ = seen.labelled("2d5")
    gap = np.linalg.norm(seen.points[-1]["2d5"] - target, axis=2).mean(1)
    eyes = np.linalg.norm(target[:, 1] - target[:, 0], axis=1)
    assert values["markups"]["2d5"]["nme"][-1] == pytest.approx(100 * (gap / eyes).mean())
    assert run(root, "--databases", "mtfl/train", "--figures", str(root / "figures")) == 0
    printed, told_too = capsys.readouterr()
    assert f"{values['markups']['2d5']['nme'][-1]:.2f}" in printed
    assert f"wrote {root / 'figures'}" in told_too
    assert {p.name for p in (root / "figures").iterdir()} == {
        "figure5-excitations.png", "figure6-masks.png", "risk-coverage.png",
    }  # fmt: skip


def test_calibration_is_written_to_new_weights(root: Path) -> None:
    with pytest.raises(InputError, match="too few labelled points"):
        run(root, "--databases", "mtfl/train", "--limit", "3", "--calibrate", str(root / "c.safetensors"))
    assert run(root, "--databases", "mtfl/train", "--calibrate", str(root / "c.safetensors")) == 0
    before, after = load_weights(root / "w.safetensors"), load_weights(root / "c.safetensors")
    assert set(after.calibration) == {"2d5"}  # the only markup with labels
    assert np.isfinite(after.calibration["2d5"]).all()
    spread = after.card.pop("narrowest_spread")
    assert 0 < float(spread) < 1
    assert (after.config, after.card) == (before.config, before.card)
    assert all(np.array_equal(after.arrays[n], v) for n, v in before.arrays.items())


def test_a_confidence_that_cannot_be_is_not_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an untrained network's points so few are right that the fit leaves the numbers that a file may hold."""
    find_by_hand(monkeypatch, tmp_path / "other", widest=1)
    with pytest.raises(InputError, match=r"no confidence of 2d5 fits these faces: \d+\.\d% of 120 points right"):
        run(root, "--databases", "mtfl/train", "--calibrate", str(root / "c.safetensors"))
    assert not (root / "c.safetensors").exists()


def test_align_and_crops_agree_on_the_same_boxes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the detector returns the annotation's box, both ways see the same crop, up to JPEG's grey."""
    import acdc_fast.photo.finding as finding
    from acdc_fast.photo.coordinates import box_from_square

    database = open_source(Source("mtfl", "train[:3]"), root)
    boxes = [box_from_square(face_square(database.annotation(i))[None])[0] for i in range(3)]
    answers = iter(2 * boxes)
    monkeypatch.setattr(finding, "detect", lambda *_: (next(answers)[None].astype(np.float32), np.ones(1, np.float32)))
    network, _ = evaluate.load_network(root / "w.safetensors")
    aligned = observe_align(root / "w.safetensors", database, 32, backend="eager")
    cropped = observe_crops(network, database, 32, torch.device("cpu"))
    assert not aligned.missed.any()
    for s in range(2):
        assert np.abs(aligned.points[s]["2d5"] - cropped.points[s]["2d5"]).max() < 0.2  # pixels of a crop of 50
        assert np.abs(aligned.poses[s] - cropped.poses[s]).max() < 0.5
    coarse = observe_align(root / "w.safetensors", database, 32, backend="eager", dtype="bfloat16")
    assert 0 < np.abs(aligned.points[1]["2d5"] - coarse.points[1]["2d5"]).max() < 0.5
    monkeypatch.setattr(finding, "detect", lambda *_: (np.zeros((0, 4), np.float32), np.zeros(0, np.float32)))
    missed = observe_align(root / "w.safetensors", database, 32, backend="eager")
    assert missed.missed.all() and np.isnan(missed.points[-1]["2d5"]).all()
    assert aligned.visible is None, "these weights do not tell"


def test_chances_of_being_in_sight_are_those_of_the_face(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of three boxes is the labelled face; the last picture has no such box."""
    import acdc_fast.photo.finding as finding

    database = open_source(Source("mtfl", "train[:3]"), root)
    middles = [database.annotation(i).middle for i in range(3)]
    boxes = [np.array([m - s, m + s], np.float32).reshape(4) for m, s in zip(middles, (14, 18, 18), strict=True)]
    apart = [np.stack([box + 60, box, box - 60]) for box in boxes]
    apart[2] = apart[2][[0, 2]]
    answers = iter(apart)
    monkeypatch.setattr(finding, "detect", lambda *_: (a := next(answers), np.ones(len(a), np.float32)))
    path = bundled()["acdc-w16-phone"]
    seen = observe_align(path, database, 56)  # not its own resolution: no box is denied
    model = Model(path, resolution=56)
    assert seen.visible is not None and seen.missed.tolist() == [False, False, True]
    for i in range(2):
        alone = model.align(database.colour(i), boxes=boxes[i][None])
        np.testing.assert_array_equal(seen.visible[i], alone.visible["2d68"][0])
    assert np.isnan(seen.visible[2]).all()


def test_what_is_wrong_is_said(root: Path, tmp_path: Path) -> None:
    for more, message in (
        (("--databases", "mnist"), "unknown 'mnist'"),
        (("--databases", "mtfl/exam"), "mtfl has splits"),
        (("--limit", "0"), "--limit"),
        (("--resolution", "50"), "--resolution must be a multiple of 8"),
        (("--data-root", str(root / "no")), "no: no such folder"),
        (("--dtype", "bfloat16"), "--dtype bfloat16 needs --detector"),
    ):
        with pytest.raises(InputError, match=message):
            run(root, *more)
    assert load_weights(root / "w.safetensors").card["resolution"] == "32"
