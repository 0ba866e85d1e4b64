"""Parquet, CSV and JSON lines hold the same, with a camera too."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra [parquet])")

import pyarrow.parquet as pq
from helpers.batch_jobs import quiet
from helpers.small import fitted, sighted, small_weights

from acdc_fast import Camera, Model
from acdc_fast.batch import job as batch
from acdc_fast.errors import InputError
from acdc_fast.readout.blendshapes import told as shape_names
from acdc_fast.readout.results import as_dict


@pytest.mark.parametrize("sees", [True, False])
def test_formats_hold_the_same(tmp_path: Path, folder: Path, model: Model, sees: bool) -> None:
    """CSV has a line for each face, JSON for each image, as `align --json`; the numbers are those of the parquet. With
    weights that tell what is in sight, and without."""
    if sees:
        weights = small_weights(stages=1)
        refinement, pose = fitted(weights)
        whole = replace(weights, refinement=refinement, pose=pose, visibility=sighted(weights))
        model = Model(whole, resolution=32)
    for suffix in (".parquet", ".csv", ".jsonl"):
        batch.run_batch(model, str(folder), str(tmp_path / f"o{suffix}"), note=quiet)
    table = pq.read_table(tmp_path / "o.parquet")
    told = json.loads(table.schema.metadata[b"acdc_fast"])
    assert told["faces"] == 2 and told["job"]["backend"] == "native" and told["job"]["version"]
    rows = table.to_pylist()
    entries = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [e["image"] for e in entries] == [r["image"] for r in rows]
    for name, entry in zip(("a.jpg", "sub/d.JPG"), (entries[0], entries[3]), strict=True):
        assert entry["faces"] == as_dict(model.align(folder / name))
    assert entries[2]["error"] == rows[2]["error"] and entries[1]["faces"] == []
    with open(tmp_path / "o.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["image"] for line in lines] == ["a.jpg", "b.png", "c.jpg", "sub/d.JPG"]
    face = entries[3]["faces"][0]
    assert float(lines[3]["2d68_5_y"]) == face["landmarks"]["2d68"][5][1] and lines[1]["face"] == ""
    assert float(lines[3]["3d68_67_confidence"]) == face["confidence"]["3d68"][67] and "empty" in lines[2]["error"]
    assert (float(lines[3]["x1"]), float(lines[3]["roll"])) == (face["box"][2], face["pose"]["roll"])
    assert set(face["blendshapes"]) == set(shape_names())
    for name, value in face["blendshapes"].items():
        assert float(lines[3][f"blendshape_{name}"]) == value
        assert rows[3][f"blendshape_{name}"][0] == pytest.approx(value, abs=1e-4)
        assert rows[1][f"blendshape_{name}"] == rows[2][f"blendshape_{name}"] == []
        assert lines[1][f"blendshape_{name}"] == ""
    assert bool(face["visible"]) == sees
    if sees:
        assert float(lines[3]["2d68_66_visible"]) == face["visible"]["2d68"][66]
        assert rows[3]["visible_2d68"][0][66] == pytest.approx(face["visible"]["2d68"][66], abs=1e-4)
        assert rows[1]["visible_2d68"] == [] and lines[1]["2d68_0_visible"] == ""
    else:
        assert rows[3]["visible_2d68"] is None and lines[3]["2d68_66_visible"] == ""


def test_a_camera_gives_places_in_every_format(tmp_path: Path, folder: Path) -> None:
    """As `align` with this camera; another camera, or none, makes another job and other columns."""
    weights = small_weights(stages=1)
    refinement, pose = fitted(weights)
    model = Model(replace(weights, refinement=refinement, pose=pose), resolution=32)
    camera = Camera(((500, 0, 250), (0, 510, 260), (0, 0, 1)), eye_corners=90)
    for suffix in (".parquet", ".csv", ".jsonl"):
        batch.run_batch(model, str(folder), str(tmp_path / f"o{suffix}"), note=quiet, camera=camera)
    rows = pq.read_table(tmp_path / "o.parquet").to_pylist()
    entries = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    with open(tmp_path / "o.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    faces = model.align(folder / "a.jpg", camera=camera)
    assert faces.pose is not None and faces.pose.translation is not None
    place = faces.pose.translation[0]
    assert rows[0]["translation"][0] == place.tolist() and rows[1]["translation"] == rows[2]["translation"] == []
    assert entries[0]["faces"] == as_dict(faces) and entries[0]["faces"][0]["pose"]["translation"]
    assert [float(lines[0][f"translation_{axis}"]) for axis in "xyz"] == pytest.approx(place, abs=1e-3)
    assert lines[1]["translation_x"] == lines[2]["translation_z"] == ""
    assert (float(lines[0]["yaw"]), float(lines[0]["2d68_0_x"])) == pytest.approx(
        (faces.pose.yaw[0], faces.landmarks["2d68"][0, 0, 0]), abs=1e-3
    )
    out = tmp_path / "o.csv"
    assert batch.run_batch(model, str(folder), str(out), note=quiet, camera=camera).resumed == 4
    with pytest.raises(InputError, match="camera differ"):
        batch.run_batch(model, str(folder), str(out), note=quiet, camera=replace(camera, eye_corners=80))
    with pytest.raises(InputError, match="from another job"):
        batch.run_batch(model, str(folder), str(out), note=quiet)
    batch.run_batch(model, str(folder), str(out), note=quiet, overwrite=True)
    assert "translation" not in out.read_text().partition("\n")[0]
