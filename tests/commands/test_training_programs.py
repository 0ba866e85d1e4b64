"""The programs of training as a careless user types them: one line that says what is wrong, before any work.

Nothing is written, and nothing that was there is lost. `test_training_exit_codes` does so for `train` and `evaluate`.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch (extra [train])")
pytest.importorskip("cv2", reason="training needs OpenCV (extra [train])")
pytest.importorskip("tensorboard", reason="training needs TensorBoard (extra [train])")

from helpers.faces import SETTINGS, write_faces, write_weights

from acdc_fast import ACDCConfig

FITS = [f"fits.{name}_fit" for name in ("refinement", "people", "confidence", "orientation", "visibility")]
PROGRAMS = [*FITS, "fits.blendshapes_fit", "fits.interpolate", "teach", "recipe", "evaluation.ablation",
            "evaluation.evaluate", "loop.train", "synthesis.__main__", "synthesis.head_shape", "synthesis.markup_sheet",
            "finding.__main__"]  # fmt: skip
#: A program's words but for its output. The weights are absent: an output is looked at before them.
WORDS = {name: "@absent --data-root @good" for name in FITS} | {
    "fits.refinement_fit": "@absent --data-root @good --config @absent",
    "fits.blendshapes_fit": "@absent --data-root @good", "fits.interpolate": "@absent @absent --share 0.5",
    "synthesis.__main__": "--data-root @nothing --render 1", "synthesis.head_shape": "--data-root @nothing",
}  # fmt: skip
ABLATION = "evaluation.ablation --config @small.yaml --data-root @good --databases mtfl/train --seeds 1 --out @"
FIND = "finding.__main__ @good --backgrounds @folder --out @o "
SHEET = "synthesis.markup_sheet --data-root @nothing -o "
DRAW = "synthesis.__main__ --data-root @nothing "


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("programs")
    for name in ("good", "empty", "nothing", "folder", "broken"):
        (root / name).mkdir()
    write_faces(root / "good")
    write_faces(root / "empty", 0)
    (root / "good" / "mtfl-train-by-there.npz").write_bytes(b"made before")
    (root / "empty" / "ict_facekit.npz").write_bytes(b"")
    (root / "good" / "ict_facekit.npz").write_bytes(b"PK\x03\x04 cut")
    (root / "broken" / "ac-0.json").write_text("{")
    (root / "text").write_text("made before")
    whole = SETTINGS.replace("markups: [2d5]", "markups: [2d68, 2d5, 3d68]")
    (root / "small.yaml").write_text(whole)
    (root / "flat.yaml").write_text(SETTINGS)
    write_weights(root / "five.safetensors", ACDCConfig(width=4, stages=1, variant="ac", markups=("2d5",)))
    write_weights(root / "many.safetensors", ACDCConfig(width=4, stages=1, variant="ac", markups=("2d68", "2d5")))
    return root


def called(line: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The program's exit code."""
    name, *words = [word.replace("@", f"{place}/") for word in line.split()]
    monkeypatch.setattr(sys, "argv", [name, *words])
    monkeypatch.setenv("ACDC_CACHE", str(place / "cache"))
    try:
        return int(importlib.import_module(f"acdc_fast.training.{name}").main())
    except SystemExit as stopped:  # argparse
        return int(stopped.code or 0)


def outputs(names: list[str]) -> list[tuple[str, str]]:
    says = {"@folder": "folder: is a folder", "@text": "text: is there already; --overwrite replaces it"}
    if sys.platform != "win32":
        says["/dev/null"] = "/dev/null: is a device"
    return [(f"{name} {WORDS[name]} -o {place}", what) for name in names for place, what in says.items()]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        *outputs(list(WORDS)),
        *((f"{name} {WORDS[name].replace('good', 'absent')} -o @o", "absent: no such folder") for name in FITS),
        *((f"{name} --nonesuch", "required: ") for name in PROGRAMS),
        ("fits.blendshapes_fit @absent --data-root @good --test-limit 0 -o @o", "--test-limit must be at least 1"),
        ("teach @absent --data-root @absent --database mtfl", "--data-root"),
        ("teach @there.safetensors --data-root @good --database mtfl", "there.npz: is there already; --overwrite"),
        ("teach @five.safetensors --data-root @good --database mtfl", "no markup of more than five points"),
        ("teach @many.safetensors --data-root @empty --database mtfl", "mtfl has no faces"),
        (ABLATION + "o --seeds 0", "--seeds must be at least 1, not 0"), (ABLATION + "o --limit -1", "--limit must be"),
        (ABLATION + "o --databases nonesuch", "--databases: unknown 'nonesuch'"),
        (ABLATION + "o --databases mtfl/train[3:3]", "no faces"),
        (ABLATION + "o --data-root @absent", "no such folder"),
        (ABLATION + "o --config @flat.yaml", "flat.yaml: network: variant 'ac+pose' reads pose off the 3D stream"),
        (ABLATION + "broken", "ac-0.json: not the scores of a run"),
        *((f"{DRAW}--render {n} -o @o", "--render must lie in 1 … 1,000,000") for n in ("0", "-1", "9" * 20)),
        *((f"{DRAW}--speed {n}", "--speed must lie in") for n in ("0", "-1")), (DRAW + "--speed 1 -o @o", "leave it"),
        *((f"{DRAW}--render 1 -o @o --size {n}", "--size must lie in 32 … 4,096") for n in ("1", "99999")),
        (DRAW + "--render 1 -o @o --workers 0", "--workers must"), (DRAW + "--sheet @o.png --rows 0", "--rows must"),
        (DRAW + "--render 1 -o @o --first -1", "--first must"), (DRAW + "--sheet @o.txt", "is a PNG"),
        (DRAW + "--sheet @o.png --columns 1000000000", "--columns must"), (DRAW + "--sheet @folder", "is a folder"),
        (FIND + "--steps -1", "--steps must be"), (FIND + "--threads 0", "--threads must"),
        (FIND + "--rate nan", "--rate must"),
        (FIND.replace("good", "absent"), "no such folder"), (FIND.replace("folder", "absent"), "no such folder"),
        (SHEET + "@o.png --faces", "--faces: numbers"), (SHEET + "@o.png --faces -1", "--faces: numbers"),
        (SHEET + "@o.foo", "is a PNG"), (SHEET + "@folder.png", "ict_facekit.npz"),
        (DRAW.replace("nothing", "empty") + "--render 1 -o @o", "cannot be read as the ICT-FaceKit model"),
        (DRAW.replace("nothing", "good") + "--render 1 -o @o", "cannot be read as the ICT-FaceKit model"),
    ],
)  # fmt: skip
def test_a_wrong_command_is_refused_in_one_line(
    line: str, says: str, place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    code = called(line, place, monkeypatch)
    told = capfd.readouterr().err
    assert code == 2, told
    assert says in told and told.count("\n") == 1 and len(told) < 1100
    after = {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and "cache" not in path.parts}
    assert after == {path: data for path, data in before.items() if "cache" not in path.parts}


def test_an_output_is_replaced_where_that_is_asked_for(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"fits.interpolate @five.safetensors @five.safetensors --share 0.5 -o {tmp_path}/made.safetensors"
    assert called(line, place, monkeypatch) == 0
    assert called(line, place, monkeypatch) == 2 and "--overwrite replaces it" in capfd.readouterr().err
    assert called(line + " --overwrite", place, monkeypatch) == 0
