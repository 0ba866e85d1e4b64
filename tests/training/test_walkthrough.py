"""``docs/guides/own-points.md`` does what it says: on 200 genuine faces where they are, always on a few."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.paths import PHOTO, ROOT
from helpers.patience import PATIENCE
from helpers.snippets import Snippet, furnish, run

from acdc_fast import Model
from acdc_fast.training.loop.card import validations

PAGE = ROOT / "docs" / "guides" / "own-points.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
#: LFW's ten points as 2d68 has them; wings of the nose: the nearest.
TEN = ((36,), (39,), (48,), (54,), (57,), (51, 62), (42,), (45,), (31,), (35,))


def blocks(**changes: str) -> tuple[str, list[Snippet]]:
    """The settings of the page, and what it runs, in order."""
    found = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    (settings,) = [text for language, text in found if language == "yaml"]
    for old, new in changes.items():
        assert settings.count(f"{old}: ") == 1
        settings = re.sub(rf"\b{old}: [^,}}\n]+", f"{old}: {new}", settings)
    return settings, [Snippet(text, language, ()) for language, text in found if language != "yaml"]


def walk(folder: Path, settings: str, snippets: list[Snippet]) -> str:
    """Everything on the page, as a reader would. Returns what was printed."""
    (folder / "own.yaml").write_text(settings)
    python = folder / "bin" / "python"  # that of the tests
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    done = run(snippets, folder, {**os.environ, "OMP_NUM_THREADS": "2"}, limit=900)  # a minute, alone
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    for name in ("own/card.md", "own.png", "report.html", "own.safetensors"):
        assert (folder / name).stat().st_size > 500, name
    return done.stdout + done.stderr


def write_points(folder: Path, rows: list[list[object]], count: int) -> None:
    with open(folder / "points.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", *(f"{a}{k}" for k in range(count) for a in "xy")], *rows])


def test_the_page_on_a_few_faces(tmp_path: Path) -> None:
    """A photograph at other places and sizes, with the package's points. Few updates; eleven faces calibrate."""
    furnish(tmp_path)
    data, rng = tmp_path / "data", np.random.default_rng(0)
    photo = cv2.imread(str(PHOTO))
    points = Model.from_pretrained("acdc-w16-fast", threads=1).align(photo[..., ::-1].copy())[0].landmarks["2d68"][0]
    rows: list[list[object]] = []
    for number in range(55):
        scale, (x, y) = rng.uniform(0.45, 0.55), rng.uniform(-10, 10, 2)
        matrix = np.array([[scale, 0, x], [0, scale, y]])
        cv2.imwrite(
            str(data / f"{number}.png"), cv2.warpAffine(photo, matrix, (260, 260), borderMode=cv2.BORDER_REPLICATE)
        )
        ten = np.array([points[list(group)].mean(0) for group in TEN]) @ matrix[:, :2].T + matrix[:, 2]
        cells: list[object] = ten.round(2).ravel().tolist()
        rows.append([f"{number}.png", *(["", ""] if number == 1 else cells[:2]), *cells[2:]])
    write_points(data, rows, 10)
    told = walk(tmp_path, *blocks(updates="6", validate_every="3", batch="4", log_every="2", threads="1"))
    assert "update 6 of 6" in told and "(1, 10, 2)" in told
    assert [step for step, _ in validations(tmp_path / "own")] == [0, 3, 6]
    lists = {s: list(csv.reader((data / f"faces-{s}.csv").read_text().splitlines())) for s in ("train", "dev")}
    assert [len(rows) - 1 for rows in lists.values()] == [44, 11]
    assert [row[0] for row in lists["dev"][1:]] == [f"{k}.png" for k in range(0, 55, 5)] and lists["train"][1][5:7] == [
        "",
        "",
    ]
    assert np.array(lists["dev"][1][5:], float) == pytest.approx(np.array(rows[0][1:], float), abs=0.005)
    card = (tmp_path / "own" / "card.md").read_text()
    for words in ("2d-ten (10 points)", "| started from | acdc-w16-fast |", "| training | csv/train | 44 | 0 |",
                  "| csv/2d-ten |", "3. mouth right", "200 faces of my own"):  # fmt: skip
        assert words in card, card


@pytest.fixture
def genuine() -> Path:
    folder = os.environ.get("ACDC_DATA_ROOT")
    if not folder:
        pytest.skip("ACDC_DATA_ROOT is not set: it names the folder of genuine data; the page ran on small faces alone")
    return Path(folder)


def test_the_page_on_200_faces(genuine: Path, tmp_path: Path) -> None:
    """People's ten points on 250 LFW faces, 50 of them kept for the validation: learned from 200 in a minute."""
    furnish(tmp_path)
    data = tmp_path / "data"
    table = list(csv.reader((genuine / "mtfl-train-lfw10.csv").read_text().splitlines()))[1:251]
    with tarfile.open(genuine / "mtfl-train.tar") as tar:
        for row in table:
            tar.extract(row[0], data, filter="data")
    write_points(data, [row[:21] for row in table], 10)
    told = walk(tmp_path, *blocks())
    found = validations(tmp_path / "own")
    errors = {step: values["csv/2d-ten/stage4"] for step, values in found}
    print(errors, told[-3000:])
    best = min(errors.values())
    assert errors[0] > 20 and best < 6.5, errors  # % of the eyes' distance; the maps begin at random
    assert f"{best:.2f}" in (tmp_path / "own" / "card.md").read_text()


def test_cofw_s_points_as_a_markup_of_ones_own(genuine: Path, tmp_path: Path) -> None:
    """COFW's 29 points from COCO's layout under a name of one's own: two faces are learned by heart."""
    furnish(tmp_path)
    data = tmp_path / "data"
    told = json.loads((genuine / "formats" / "cofw" / "test_cofw.json").read_text())
    names = [f"point {k}" for k in range(29)]
    for each in told["annotations"]:
        each["keypoints"] = each["keypoints"][:87]
    told["categories"] = [{"id": 1, "name": "face", "keypoints": names}]
    (data / "coco-train.json").write_text(json.dumps(told))
    for image in told["images"]:
        (data / image["file_name"]).write_bytes((genuine / "formats" / "cofw" / image["file_name"]).read_bytes())
    pairs = [[0, 1], [2, 3], [4, 6], [5, 7], [8, 9], [10, 11], [12, 14], [13, 15], [16, 17], [18, 19], [22, 23]]
    own = {"name": "2d-cofw", "points": names, "mirror_pairs": pairs, "eye_corners": ["point 8", "point 9"]}
    settings = {
        "markups": [own],
        "network": {"width": 16, "markups": ["2d98", "2d68", "2d-cofw", "3d68"]},
        "databases": [{"name": "coco"}], "validation": [{"name": "coco"}],
        "phases": [{"updates": 60, "resolution": 64, "batch": 4}], "optimiser": {"rate": 4e-3},
        "augment": {"rotation": 0, "mirror": 0, "cut": 0, "occluder": 0}, "held": 3, "fixed_norm": True,
        "validate_every": 60, "threads": 1, "workers": 0,
    }  # fmt: skip
    (tmp_path / "own.yaml").write_text(json.dumps(settings))
    command = [str(tmp_path / "bin" / "acdc-fast"), "train", "--config", "own.yaml", "--data-root", "data"]
    command += ["--out", "own", "--init", "acdc-w16-fast"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
    ((_, values),) = validations(tmp_path / "own")
    assert values["coco/2d-cofw/stage4"] < 15, values
    assert "0. point 0" in (tmp_path / "own" / "card.md").read_text()
