"""The command line as people and scripts meet it: exit codes, one-line errors, JSON, no stack traces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.patience import PATIENCE
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")

from helpers.paths import PHOTO
from helpers.pictures import zoo
from helpers.small import small_weights

from acdc_fast import Model
from acdc_fast.bundled import DEFAULT
from acdc_fast.commands import cli
from acdc_fast.readout.blendshapes import told
from acdc_fast.weights import save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, small_weights(stages=2))
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = cli.main([str(a) for a in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def process(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "acdc_fast.commands.cli", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, **options
    )


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


def test_picture_goes_where_asked(capsys: pytest.CaptureFixture[str], weights: str, tmp_path: Path) -> None:
    code, _, _ = run(capsys, "align", PHOTO, "-o", tmp_path / "new" / "a.jpg", "--weights", weights)
    assert code == 0
    with Image.open(tmp_path / "new" / "a.jpg") as drawn, Image.open(PHOTO) as photo:
        assert drawn.format == "JPEG" and drawn.size == photo.size
        assert (np.abs(np.asarray(drawn, int) - np.asarray(photo, int)).max(2) > 60).any()
    twin = tmp_path / "twin" / "astronaut.jpg"
    twin.parent.mkdir()
    twin.write_bytes(PHOTO.read_bytes())
    assert run(capsys, "align", PHOTO, twin, "-o", tmp_path / "both", "--weights", weights)[0] == 0
    assert sorted(p.name for p in (tmp_path / "both").iterdir()) == ["astronaut-2.png", "astronaut.png"]
    assert run(capsys, "align", PHOTO, "-o", tmp_path / "r.json", "--weights", weights)[0] == 0
    assert len(json.loads((tmp_path / "r.json").read_text())["images"]) == 1


def test_bad_places_are_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], weights: str, tmp_path: Path
) -> None:
    own = tmp_path / "own.jpg"
    own.write_bytes(PHOTO.read_bytes())
    for out, word in ((tmp_path / "a.xyz", "format"), (own, "overwrite")):
        code, said, err = run(capsys, "align", own, "-o", out, "--weights", weights)
        assert code == 2 and word in err and not said and err.count("\n") == 1
    code, _, err = run(capsys, "align", own, PHOTO, "-o", tmp_path / "one.png", "--weights", weights)
    assert code == 2 and "folder" in err
    assert own.read_bytes() == PHOTO.read_bytes()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_forbidden_folder(capsys: pytest.CaptureFixture[str], weights: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    code, _, err = run(capsys, "align", PHOTO, "-o", tmp_path / "a.png", "--weights", weights)
    assert code == 1 and err.count("\n") == 1


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no files, as Linux's /proc")
def test_a_place_that_takes_no_file_is_named(capsys: pytest.CaptureFixture[str], weights: str) -> None:
    code, _, err = run(capsys, "align", PHOTO, "-o", "/proc/a.png", "--weights", weights)
    assert code == 1 and err.startswith("acdc-fast: /proc/a.png: ") and err.count("\n") == 1


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


def test_bad_options(capsys: pytest.CaptureFixture[str], weights: str, tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(Path(weights).read_bytes()[:500])
    for arguments, code, word in (
        (["--weights", "nowhere.safetensors"], 2, "nowhere.safetensors"),
        (["--weights", "nonesuch"], 2, "nonesuch"),
        (["--weights", tmp_path / "cut.safetensors"], 2, "cut.safetensors: not a whole"),
        (["--weights", weights, "--stages", "9"], 2, "from 1 to 2"),
        (["--weights", weights, "--resolution", "50"], 2, "multiple of 8"),
        (["--weights", weights, "--markup", "2d29"], 2, "2d29"),
        (["--weights", weights, "--backend", "native", "--device", "cuda"], 1, "CPU"),
    ):
        got, out, err = run(capsys, "align", PHOTO, *arguments)
        assert (got, out) == (code, "") and word in err and err.count("\n") == 1, err


@pytest.mark.parametrize("value", ["abc", "0", "-3", "1.5", "9" * 9000])
def test_a_number_that_is_none_is_told_in_one_short_line(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["align", str(PHOTO), "--threads", value])
    last = capsys.readouterr().err
    assert last.count("\n") == 1
    assert caught.value.code == 2 and "argument --threads: must be a whole number, at least 1" in last
    assert value[:40] in last and len(last) < 200


@pytest.mark.parametrize("name", ["m.onnx", "m.pt2"])
def test_export_names_the_extra_that_it_needs(
    name: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    assert cli.main(["export", str(tmp_path / name), "--weights", weights]) == 1
    assert capsys.readouterr().err == "acdc-fast: export needs torch: pip install 'acdc-fast[onnx]'\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["align", "a.jpg", "--thraeds", "2"], "acdc-fast align: no such option: --thraeds 2: did you mean --threads?"),
        (["align", "a.jpg", "--thraeds=2"], "acdc-fast align: no such option: --thraeds=2: did you mean --threads?"),
        (["batch", "in", "--otu", "x"], "required: -o/--out: did you mean --out?"),
        (["video", "a.mp4", "--evry", "2"], "acdc-fast video: no such option: --evry 2: did you mean --every?"),
        (["env", "--qqqq"], "acdc-fast env: no such option: --qqqq"),
        (["algin", "a.jpg"], "acdc-fast: no command 'algin'; there are align, video, batch, train, evaluate, export, "
                             "bench, env: did you mean align?"),
        (["--verison"], "required: COMMAND: did you mean --version?"),
        (["align", "a.jpg", "--backend", "native", "--", "--thraeds"], None),
    ],
)  # fmt: skip
def test_a_mistyped_word_is_guessed(words: list[str], said: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = cli.main(words)
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    error = capsys.readouterr().err
    assert code == 2 and "usage" not in error
    if said is None:
        assert "did you mean" not in error
    else:
        assert error.count("\n") == 1 and error.endswith(said + "\n")


@pytest.mark.parametrize("command", ["", "align", "video", "batch", "train", "evaluate", "export", "bench", "env"])
def test_every_command_has_help_and_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    if command in ("train", "evaluate"):
        pytest.importorskip("acdc_fast.training.loop.train", reason="the training room needs its extra")
    with pytest.raises(SystemExit) as caught:
        cli.main([*([command] if command else []), "--help"])
    out = capsys.readouterr().out
    assert caught.value.code == 0 and "usage: acdc-fast" in out
    assert not command or "example: acdc-fast" in " ".join(out.split())


def test_whole_processes(weights: str, tmp_path: Path) -> None:
    """In a process, which shows more than `main`: nothing else on stderr, and no trace."""
    (tmp_path / "empty.jpg").write_bytes(b"")
    done = process("align", tmp_path / "empty.jpg", PHOTO, "--json", "--weights", weights)
    assert done.returncode == 2 and done.stderr == f"acdc-fast: {tmp_path}/empty.jpg: is empty\n"
    assert len(json.loads(done.stdout)["images"][1]["faces"]) == 1
    done = process("nonesuch")
    assert done.returncode == 2 and "no command 'nonesuch'" in done.stderr and "Traceback" not in done.stderr


def test_closed_pipe_is_quiet(weights: str) -> None:
    command = f"{sys.executable} -m acdc_fast.commands.cli align {PHOTO} --json --weights {weights} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stderr == ""


def test_env_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "env")
    assert code == 0
    for fact in ("acdc_fast:", "python:", "processor:", "native library:", "torch:", "triton:", "nvcc:", "weights:"):
        assert fact in out


def test_bench_compares_after_checking(capsys: pytest.CaptureFixture[str], weights: str) -> None:
    code, out, _ = run(capsys, "bench", "--weights", weights, "--rounds", "2", "--resolution", "32")
    assert code == 0 and "eager" in out and "ms a face" in out and "disagrees" not in out


def test_export_writes_onnx(capsys: pytest.CaptureFixture[str], weights: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra [onnx])")
    code, _, _ = run(capsys, "export", tmp_path / "m.onnx", "--batch", "1", "--resolution", "32", "--weights", weights)
    assert code == 0
    onnx.checker.check_model(str(tmp_path / "m.onnx"))


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


def test_what_is_there_is_replaced_only_when_asked(
    capsys: pytest.CaptureFixture[str], weights: str, tmp_path: Path
) -> None:
    """Every output of `align`; an empty file holds nothing, so it is filled."""
    (tmp_path / "empty.png").touch()
    assert run(capsys, "align", PHOTO, "-o", tmp_path / "empty.png", "--weights", weights)[0] == 0
    assert Image.open(tmp_path / "empty.png").size == (512, 512)
    folder = tmp_path / "both"
    folder.mkdir()
    kept = [tmp_path / "a.png", tmp_path / "a.json", folder / "astronaut.png", folder / "astronaut-2.png"]
    for place in kept:
        place.write_text("mine")
    for images, out, word in (
        ([PHOTO], kept[0], f"{kept[0]}: is there"),
        ([PHOTO], kept[1], f"{kept[1]}: is there"),
        ([PHOTO, PHOTO], folder, f"{kept[2]}, and 1 more: is there"),
    ):
        options = [*images, "-o", out, "--weights", weights]
        code, said, err = run(capsys, "align", *options)
        assert code == 2 and not said and err.count("\n") == 1 and word in err and "--overwrite" in err
        assert all(place.read_text() == "mine" for place in kept)
        code, _, err = run(capsys, "align", *options, "--overwrite")
        assert code == 0 and not err
        for place in [p for p in kept if out in (p, p.parent)]:
            assert place.stat().st_size > 4
            place.write_text("mine")


def test_other_commands_replace_only_when_asked(
    capsys: pytest.CaptureFixture[str], weights: str, tmp_path: Path
) -> None:
    """Before any work: neither the film nor the databases are there."""
    out = tmp_path / "out.jsonl"
    out.write_text("mine")
    for command in (
        ["video", tmp_path / "nothing.mp4", "-o", out],
        ["export", out.rename(tmp_path / "out.onnx"), "--weights", weights],
    ):
        (tmp_path / "out.jsonl").write_text("mine")
        code, said, err = run(capsys, *command)
        assert code == 2 and not said and "is there already; --overwrite" in err and err.count("\n") == 1
    assert (tmp_path / "out.onnx").read_text() == "mine"


def test_a_folder_that_is_made_is_told(capsys: pytest.CaptureFixture[str], weights: str, tmp_path: Path) -> None:
    for out, new in ((tmp_path / "new" / "a.png", "new"), (tmp_path / "deep" / "er" / "a.json", "deep/er")):
        code, _, err = run(capsys, "align", PHOTO, "-o", out, "--weights", weights)
        assert code == 0 and err == f"acdc-fast: {tmp_path / new}: this folder is new\n" and out.exists()
    code, _, err = run(capsys, "align", PHOTO, "-o", tmp_path / "new" / "b.png", "--weights", weights)
    assert code == 0 and not err
