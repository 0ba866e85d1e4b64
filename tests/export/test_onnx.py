"""An exported file gives what `Model.align` gives for the same crop, in ONNX Runtime, OpenVINO and torch."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import PHOTO, ROOT
from PIL import Image

torch = pytest.importorskip("torch", reason="torch is not installed: nothing to export from")
pytest.importorskip("onnx", reason="onnx is not installed (extra [onnx])")
pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra [onnx])")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [bench])")

from helpers.small import fitted, sighted, small_network, small_weights  # noqa: E402

from acdc_fast import Faces, InputError, Model  # noqa: E402
from acdc_fast.commands.cli import main  # noqa: E402
from acdc_fast.export import export_network, export_onnx, export_program  # noqa: E402
from acdc_fast.photo.coordinates import image_to_crop, square_from_box, square_from_points  # noqa: E402
from acdc_fast.photo.crops import crop_faces  # noqa: E402
from acdc_fast.weights import fingerprint  # noqa: E402

#: Crop units: the contract's tolerance for any fast path. What is in float32 here and in float64 there adds 1e-6.
UNITS = 2e-5
#: Degrees, the contract's. Confidence is a logistic of logarithms: as exact as spreads, which are to 1e-5.
DEGREES, SURE = 0.01, 1e-4
#: Boxes that fit the face of the photo well enough that `align` does not look again, moved and of other sizes.
BOXES = [[178, 62, 267, 174], [172, 64, 264, 178], [182, 58, 270, 176]]
STAGES = 2


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained("acdc-w16-fast", stages=STAGES, threads=1)


@pytest.fixture(scope="module")
def onnx_file(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "x.onnx"
    model.export_onnx(path)
    assert [p.name for p in path.parent.iterdir()] == ["x.onnx"]
    return path


@pytest.fixture(scope="module")
def crops(model: Model) -> np.ndarray:
    return crop_faces(np.asarray(Image.open(PHOTO).convert("RGB")), square_from_box(BOXES), model.resolution)


def answers(path: Path, crops: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, {"crops": crops}), strict=True))


def equal_to_align(got: dict[str, Any], faces: Faces) -> None:
    """Every output, by what `align` hands out for `BOXES`."""
    squares = square_from_box(BOXES)
    side = squares[:, 2:3]
    for markup in ("2d98", "2d68", "2d5", "3d68"):
        points, moments = faces.landmarks[markup], got[f"covariance_{markup}"]
        assert np.abs(got[f"landmarks_{markup}"] - image_to_crop(points, squares)).max() < UNITS
        assert np.abs(np.sqrt(moments[..., 0] + moments[..., 2]) - faces.spread[markup] / side).max() < UNITS
        assert np.abs(got[f"confidence_{markup}"] - faces.confidence[markup]).max() < SURE
    assert set(faces.visible) == {"2d68"} and np.ptp(faces.visible["2d68"]) > 0.1
    assert np.abs(got["visible_2d68"] - faces.visible["2d68"]).max() < SURE
    pose = np.stack([faces.pose.yaw, faces.pose.pitch, faces.pose.roll], 1)  # type: ignore[union-attr]
    assert np.abs(got["pose"] - pose).max() < DEGREES
    assert np.abs(got["presence"] - faces.scores).max() < SURE
    asked = square_from_points(image_to_crop(faces.landmarks["2d5"], squares))[:, :3]
    assert np.abs(got["square"] - asked).max() < UNITS * 10  # a side is about 7 times the distances it is made of


def test_equals_align(model: Model, onnx_file: Path, crops: np.ndarray) -> None:
    faces = model.align(PHOTO, boxes=BOXES)
    got = answers(onnx_file, crops)
    equal_to_align(got, faces)
    assert np.abs(got["mask"] - model(crops).mask).max() < 1e-4
    for i in range(len(crops)):  # the batch is dynamic
        for name, value in answers(onnx_file, crops[i : i + 1]).items():
            assert np.abs(value[0] - got[name][i]).max() < 1e-4, name


def test_openvino_agrees(onnx_file: Path, crops: np.ndarray) -> None:
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed (extra [bench])")
    import openvino

    compiled = openvino.Core().compile_model(str(onnx_file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    got = compiled(crops)
    for name, value in answers(onnx_file, crops).items():
        assert np.abs(got[name] - value).max() < 1e-4, name


def test_program_of_plain_torch(model: Model, crops: np.ndarray, tmp_path: Path) -> None:
    outputs = model.export_program(tmp_path / "x.pt2")
    said = {"facts.json": ""}
    program = torch.export.load(tmp_path / "x.pt2", extra_files=said)
    assert "acdc_fast" not in str(program.graph)  # no op of ours
    facts = json.loads(said["facts.json"])
    assert facts["outputs"] == outputs and facts["weights"] == "acdc-w16-fast"
    with torch.no_grad():
        values = program.module()(torch.from_numpy(crops))
    got = dict(zip(outputs, [value.numpy() for value in values], strict=True))
    equal_to_align(got, model.align(PHOTO, boxes=BOXES))


def test_metadata(model: Model, onnx_file: Path) -> None:
    session = onnxruntime.InferenceSession(str(onnx_file))
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["weights"] == "acdc-w16-fast" and facts["weights_sha256"] == fingerprint(model.weights)
    assert facts["licence_of_code"] == "Apache-2.0" and "research" in facts["licence_of_weights"]
    assert facts["stages"] == str(STAGES)
    markups = json.loads(facts["markups"])
    assert {name: m["points"] for name, m in markups.items()} == {"2d98": 98, "2d68": 68, "2d5": 5, "3d68": 68}
    assert markups["2d68"]["contours"][0] == list(range(17))
    recipe = json.loads(facts["crop"])
    assert (recipe["size"], recipe["scale"], recipe["shift"]) == (64, 1.4, [0.0, 0.12])
    import onnx

    assert [(o.domain, o.version) for o in onnx.load(onnx_file).opset_import] == [("", 18)]


@pytest.mark.parametrize("box", [*BOXES, [150, 40, 300, 200]])  # the last is cut with more than one sample a pixel
def test_the_example(model: Model, onnx_file: Path, box: list[float]) -> None:
    """It knows the file alone: the same points to 0.01 pixels of the picture and the same pose to 0.01 degrees."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        from onnx_align import align
    finally:
        sys.path.pop(0)
    points, pose = align(onnxruntime.InferenceSession(str(onnx_file)), PHOTO, box)
    square = square_from_box([box])
    one = Model(replace(model.weights, card={"resolution": "64"}), stages=STAGES)  # it does not look again
    faces = one.align(PHOTO, boxes=[box])
    assert square[0, 2] > 64 and np.abs(points - faces.landmarks["2d68"][0]).max() < 0.01
    assert np.abs(pose - [faces.pose.yaw[0], faces.pose.pitch[0], faces.pose.roll[0]]).max() < 0.01


def test_the_example_is_short() -> None:
    text = (ROOT / "examples" / "onnx_align.py").read_text()
    body = text[text.index("def align") : text.index("if __name__")].strip().splitlines()
    assert len(body) <= 20 and "acdc_fast" not in text


@pytest.mark.parametrize(("variant", "batch", "patch"), [("ac-dc", 2, 1), ("ac", "dynamic", 1), ("ac-dc", 2, 2)])
def test_other_weights(tmp_path: Path, variant: str, batch: int | str, patch: int) -> None:
    """Without pose, without a card, a part of the markups, a fixed batch; a refinement of other numbers; patches."""
    weights, side = small_weights(variant=variant, stages=2, patch=patch), 40 * patch
    small, readout = fitted(weights)
    large = {m: numbers * 1e3 for m, numbers in small.numbers.items()}  # an untrained network's points lie close
    refinement = replace(small, numbers=large)
    weights = replace(weights, refinement=refinement, pose=readout if variant == "ac-dc" else None, markups=("2d68",))
    outputs = export_onnx(weights, tmp_path / "x.onnx", batch=batch, stages=2, resolution=side)
    pose = ["pose"] if variant == "ac-dc" else []
    assert outputs == ["landmarks_2d68", "covariance_2d68", "confidence_2d68", *pose, "square", "mask"]
    crops = np.random.default_rng(0).random((2, 1, side, side), np.float32)
    got = answers(tmp_path / "x.onnx", crops)
    assert list(got) == outputs
    from acdc_fast.readout.refinement import refined

    network = Model(weights, stages=2)._run(crops)
    expected = refined(network.landmarks, refinement, weights.config.order)["2d68"]
    assert np.abs(got["landmarks_2d68"] - expected).max() < UNITS
    assert np.abs(network.landmarks["2d68"] - expected).max() > 10 * UNITS  # the refinement does something here


def test_what_is_in_sight(tmp_path: Path) -> None:
    """By numbers that tell points and faces apart, in both kinds of files; not of markups that are not handed out."""
    weights = small_weights(stages=1)
    small, readout = fitted(weights)
    weights = replace(weights, refinement=small, pose=readout, visibility=sighted(weights))
    model = Model(weights, resolution=40)
    picture = np.random.default_rng(0).integers(0, 256, (120, 200, 3)).astype(np.uint8)
    boxes = [[10, 20, 70, 90], [100, 30, 160, 100]]
    expected = model.align(picture, boxes=boxes).visible["2d68"]
    assert np.ptp(expected, 1).min() > 0.2
    crops = crop_faces(picture, square_from_box(boxes), 40)
    outputs = model.export_onnx(tmp_path / "x.onnx")
    assert np.abs(answers(tmp_path / "x.onnx", crops)["visible_2d68"] - expected).max() < SURE
    assert model.export_program(tmp_path / "x.pt2") == outputs
    with torch.no_grad():
        values = torch.export.load(tmp_path / "x.pt2").module()(torch.from_numpy(crops))
    assert np.abs(values[outputs.index("visible_2d68")].numpy() - expected).max() < SURE
    part = Model(replace(weights, markups=("2d98",)), resolution=40)
    assert "visible_2d68" not in part.export_onnx(tmp_path / "part.onnx")


def test_network_alone(tmp_path: Path) -> None:
    network = small_network(stages=1)
    export_network(network, tmp_path / "x.onnx", batch=1, size=48)
    crops = torch.rand(1, 1, 48, 48)
    with torch.no_grad():
        expected = network(crops)
    got = answers(tmp_path / "x.onnx", crops.numpy())
    assert np.abs(got["landmarks_2d98"] - expected.landmarks["2d98"].numpy()).max() < UNITS
    assert np.abs(got["pose"] - expected.pose.numpy()).max() < DEGREES


def test_bad_arguments(tmp_path: Path) -> None:
    for export in (export_onnx, export_program):
        for wrong, said in (({"batch": "many"}, "'many'"), ({"resolution": 33}, "33"), ({"stages": 9}, "9")):
            with pytest.raises(InputError, match=said):
                export(small_weights(stages=1), tmp_path / "never", **wrong)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = small_weights(stages=1)
    from acdc_fast.weights import save_weights

    save_weights(tmp_path / "own.safetensors", weights)
    out, own = tmp_path / "own.pt2", str(tmp_path / "own.safetensors")
    assert main(["export", str(out), "--weights", own, "--resolution", "40", "--batch", "2"]) == 0
    assert out.exists() and "landmarks_2d68" in capsys.readouterr().out
    assert main(["export", str(tmp_path / "x.tflite"), "--weights", own]) == 2
    assert ".onnx" in capsys.readouterr().err
    for stray in ("--backend=native", "--threads=2", "--dtype=bfloat16", "--device=cpu"):
        with pytest.raises(SystemExit):
            main(["export", str(out), stray])


def test_a_program_on_a_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch writes the file itself, a full disk ends the process."""
    import errno

    def full(self: Path, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as raised:
        export_program(small_weights(stages=1), tmp_path / "x.pt2", batch=1)
    assert raised.value.filename == str(tmp_path / "x.pt2") and not list(tmp_path.iterdir())
