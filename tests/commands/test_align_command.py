"""`acdc-fast align`: JSON, several images of which some are broken, what is looked for, a camera."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")

from helpers.command_line import run
from helpers.paths import PHOTO
from helpers.pictures import zoo

from acdc_fast import Model
from acdc_fast.bundled import DEFAULT
from acdc_fast.readout.blendshapes import told


def test_json_of_a_photo(capsys: pytest.CaptureFixture[str], weights: str) -> None:
    code, out, err = run(capsys, "align", PHOTO, "--json", "--weights", weights)
    assert (code, err) == (0, "")
    (image,) = json.loads(out)["images"]
    assert (image["image"], image["width"], image["height"]) == (str(PHOTO), 512, 512)
    (face,) = image["faces"]
    assert set(face) == {"box", "score", "pose", "landmarks", "spread", "confidence", "visible", "blendshapes"}
    assert set(face["blendshapes"]) == set(told()) and all(0 <= v <= 1 for v in face["blendshapes"].values())
    assert set(face["pose"]) == {"yaw", "pitch", "roll"} and len(face["box"]) == 4 and 0.4 < face["score"] <= 1
    assert np.shape(face["landmarks"]["2d98"]) == (98, 2) and np.shape(face["confidence"]["3d68"]) == (68,)


def test_mirror_reaches_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "align", PHOTO, "--json", "--mirror", "--weights", "acdc-w16-phone")
    (face,) = json.loads(out)["images"][0]["faces"]
    wanted, plain = (
        Model.from_pretrained("acdc-w16-phone", mirror=mirror).align(PHOTO).landmarks["2d68"][0]
        for mirror in (True, False)
    )
    found = np.array(face["landmarks"]["2d68"])
    assert code == 0 and np.abs(found - wanted).max() < 0.02 < 0.2 < np.abs(found - plain).max()  # JSON rounds


def test_bad_files_are_named_and_the_others_done(
    capsys: pytest.CaptureFixture[str], weights: str, tmp_path: Path
) -> None:
    bad = zoo(tmp_path)
    files = [tmp_path / name for name in bad]
    code, out, err = run(capsys, "align", files[0], PHOTO, *files[1:], "--weights", weights, "-o", tmp_path / "out")
    assert code == 2
    assert f"{PHOTO}: 1 face" in out
    lines = err.strip().splitlines()
    assert len(lines) == len(bad)
    for line, (name, word) in zip(lines, bad.items(), strict=True):
        assert line.startswith("acdc-fast: ") and name in line and word in line
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["astronaut.png"]


def test_json_holds_the_errors_too(capsys: pytest.CaptureFixture[str], weights: str) -> None:
    code, out, err = run(capsys, "align", "missing.jpg", PHOTO, "--json", "--weights", weights)
    first, second = json.loads(out)["images"]
    assert code == 2 and "missing.jpg" in first["error"] and "missing.jpg" in err and len(second["faces"]) == 1


@pytest.mark.parametrize("own", [True, False])
def test_no_face_is_no_error(own: bool, capsys: pytest.CaptureFixture[str], weights: str, tmp_path: Path) -> None:
    weights = weights if own else DEFAULT
    Image.new("RGB", (64, 48)).save(tmp_path / "blank.png")
    code, out, err = run(capsys, "align", tmp_path / "blank.png", "--json", "--weights", weights)
    assert code == 0 and json.loads(out)["images"][0]["faces"] == []
    assert "blank.png: no face found" in err and err.count("\n") == 1
    code, out, err = run(capsys, "align", tmp_path / "blank.png", "-o", tmp_path / "o.png", "--weights", weights)
    assert code == 0 and "0 faces" in out and Image.open(tmp_path / "o.png").size == (64, 48)


def test_what_is_looked_for(capsys: pytest.CaptureFixture[str], weights: str, tmp_path: Path) -> None:
    """Two faces, of 88 × 112 and 44 × 56 pixels."""
    with Image.open(PHOTO) as photo:
        both = Image.new("RGB", (768, 512))
        both.paste(photo.resize((256, 256)), (0, 0))
        both.paste(photo, (256, 0))
    both.save(tmp_path / "both.png")
    for arguments, count in (([], 2), (["--max-faces", "1"], 1), (["--min-size", "70"], 1), (["--min-score", "1"], 0)):
        code, out, _ = run(capsys, "align", tmp_path / "both.png", "--weights", weights, "--json", *arguments)
        assert code == 0 and len(json.loads(out)["images"][0]["faces"]) == count
    for name, value in (("--min-score", "1.5"), ("--min-size", "0")):
        code, out, err = run(capsys, "align", tmp_path / "both.png", "--weights", weights, name, value)
        assert code == 2 and not out and name[2:].replace("-", "_") in err and err.count("\n") == 1
    with pytest.raises(SystemExit, match="2"):
        run(capsys, "align", tmp_path / "both.png", "--max-faces", "0")


def test_a_camera(capsys: pytest.CaptureFixture[str], weights: str, tmp_path: Path) -> None:
    """By field of view or by the lens, in `align`, `video` and `batch`: `Camera` in Python says the same."""
    from acdc_fast import Camera, Model

    faces = Model(weights).align(PHOTO, camera=Camera(field_of_view=65, eye_corners=90))
    expected = faces.to_dict()["faces"][0]["pose"]
    focal = 18 / np.tan(np.deg2rad(65 / 2))
    for lens in (["--field-of-view", "65"], ["--focal-length", repr(float(focal))]):
        code, out, err = run(capsys, "align", PHOTO, "--json", "--weights", weights, *lens, "--eye-corners", "90")
        assert (code, err) == (0, "")
        told = json.loads(out)["images"][0]["faces"][0]["pose"]
        assert told["translation"] == pytest.approx(expected["translation"], rel=1e-5)
        angles = ("yaw", "pitch", "roll")
        assert [told[k] for k in angles] == pytest.approx([expected[k] for k in angles])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(PHOTO.read_bytes())
    lens = ["--field-of-view", "65", "--eye-corners", "90", "--weights", weights]
    code, out, err = run(capsys, "batch", tmp_path / "in", "-o", tmp_path / "o.jsonl", *lens)
    assert code == 0, err
    assert json.loads((tmp_path / "o.jsonl").read_text())["faces"][0]["pose"] == expected
    for wrong, said in [
        (["--field-of-view", "0"], "field_of_view must be a number from 1 to 170"),
        (["--focal-length", "0"], "--focal-length must be above 0, not 0"),
        (["--focal-length", "nan"], "--focal-length must be above 0"),
        (["--focal-length", "0.1"], "field_of_view must be a number from 1 to 170"),
        (["--eye-corners", "90"], "--eye-corners needs a camera"),
        (["--field-of-view", "60", "--eye-corners", "-1"], "eye_corners must be a number from 1"),
    ]:
        code, out, err = run(capsys, "align", PHOTO, "--weights", weights, *wrong)
        assert code == 2 and said in err and len(err.splitlines()) == 1, err
