"""Exit codes of every command on good, partly bad and wholly bad input, as a shell sees them.

0; 2 for input that cannot be used (the rest is done all the same); 1 for anything else. Errors take one bounded line
each, never a trace.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import PHOTO
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")

from helpers.small import small_weights

from acdc_fast.commands import cli
from acdc_fast.weights import save_weights


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with weights, good and bad pictures, and settings."""
    save_weights(tmp_path / "w.safetensors", small_weights(stages=1))
    (tmp_path / "bad.safetensors").write_bytes(b"\x10" * 99)
    for name in ("good", "partly", "wholly", "empty"):
        (tmp_path / name).mkdir()
    for name in ("good/a.jpg", "good/b.jpg", "partly/a.jpg"):
        (tmp_path / name).write_bytes(PHOTO.read_bytes())
    for name in ("partly/b.jpg", "wholly/a.jpg", "wholly/b.jpg"):
        (tmp_path / name).write_bytes(b"\x1b[2J no picture")
    (tmp_path / "bad.tar").write_bytes(b"\x1b[2J no tar" * 99)
    (tmp_path / "settings.yaml").write_text("databases: [{name: mtfl}]\nphases: [{updates: 1}]\n")
    (tmp_path / "bad.yaml").write_text("seed: [")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], place: Path, line: str) -> tuple[int, str, str]:
    """A shell command; words that begin with "@" are paths below ``place``."""
    words = [str(place / word[1:]) if word.startswith("@") else word for word in line.split()]
    try:
        code = cli.main(words)
    except SystemExit as stopped:  # argparse
        code = int(stopped.code or 0)
    said = capsys.readouterr()
    assert "Traceback" not in said.err and all(len(part) < 1100 for part in said.err.splitlines())
    assert "\x1b" not in said.err + said.out
    return code, said.out, said.err


W = " --weights @w.safetensors --resolution 32"


@pytest.mark.parametrize(
    ("line", "code", "errors"),
    [
        ("align @good/a.jpg" + W, 0, 0), ("align @good/a.jpg @good/b.jpg -o @out" + W, 0, 0),
        ("align @partly/a.jpg @partly/b.jpg --json" + W, 2, 1), ("align @wholly/a.jpg @wholly/b.jpg -o @out" + W, 2, 2),
        ("align @nothing.jpg" + W, 2, 1), ("align @good/a.jpg --weights @bad.safetensors", 2, 1),
        ("align @good/a.jpg -o @out.xyz" + W, 2, 1), ("align @good/a.jpg -o /proc/a.png" + W, 1, 1),
        ("batch @good -o @o.parquet" + W, 0, 0), ("batch @partly -o @o.csv" + W, 2, 1),
        ("batch @wholly -o @o.jsonl" + W, 2, 2), ("batch @empty -o @o.parquet" + W, 2, 1),
        ("batch @nothing -o @o.parquet" + W, 2, 1), ("batch @good -o @o.xyz" + W, 2, 1),
        ("batch @bad.yaml -o @o.parquet" + W, 2, 1),
        ("batch @partly @good/a.jpg @bad.tar -o @o.csv" + W, 2, 2), ("batch @good/a.jpg -o @o.csv" + W, 0, 0),
        ("batch @good -o /proc/o.parquet" + W, 1, 1),
        ("video @nothing.mp4" + W, 2, 1), ("video @wholly/a.jpg" + W, 2, 1),
        ("export @m.onnx --batch 1" + W, 0, 0), ("export @m.onnx --weights @bad.safetensors", 2, 1),
        ("export /proc/m.onnx --batch 1" + W, 1, 1),
        ("bench --rounds 1" + W, 0, 0), ("bench --weights @bad.safetensors", 2, 1), ("env", 0, 0),
        ("train --config @bad.yaml --data-root @good --out @r", 2, 1),
        ("train --config @nothing.yaml --data-root @good --out @r", 2, 1),
        ("train --config @settings.yaml --data-root @nothing --out @r", 2, 1),
        ("train --config @settings.yaml --data-root @empty --out @r", 2, 1),
        ("evaluate @bad.safetensors --data-root @empty --databases mtfl", 2, 1),
        ("nonesuch", 2, 1), ("batch @good", 2, 1), ("", 2, 1),
        ("align @empty" + W, 2, 1), ("align @good/a.jpg -o @good/b.jpg/a.png" + W, 1, 1),
        ("batch @good -o @good/b.jpg/o.csv" + W, 1, 1), ("align @good/a.jpg --threads abc", 2, 1),
        ("align @good/a.jpg --max-faces -1", 2, 1), ("video @a.mp4 --every 0", 2, 1), ("align", 2, 1),
        ("align @good/a.jpg --thraeds 2", 2, 1), ("batch @good --otu x", 2, 1), ("algin @good/a.jpg", 2, 1),
    ],
)  # fmt: skip
def test_exit_code(line: str, code: int, errors: int, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs = {"batch": "pyarrow", "video": "av", "export": "onnxscript", "train": "yaml", "evaluate": "cv2"}
    if (command := line.split(" ")[0]) in needs:
        pytest.importorskip(needs[command], reason=f"{command} needs {needs[command]}")
    if "/proc" in line and not os.path.exists("/proc/self"):
        pytest.skip("needs a folder that takes no files, as Linux's /proc")
    got, _, said = run(capsys, place, line)
    lines = [part for part in said.splitlines() if part.startswith(("acdc-fast: ", f"acdc-fast {command}: "))]
    assert got == code, said
    assert len(lines) == len(said.splitlines()) == errors, said


def test_what_is_good_is_done_beside_what_is_bad(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, place, "align @partly/b.jpg @partly/a.jpg --json" + W)
    bad, good = json.loads(out)["images"]
    assert code == 2 and "error" in bad and len(good["faces"]) == 1
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra [parquet])")
    for _ in range(2):  # the second run finds the work done, and must still report the bad image
        assert run(capsys, place, "batch @partly -o @o.jsonl" + W)[0] == 2
        bad, good = sorted(map(json.loads, (place / "o.jsonl").read_text().splitlines()), key=len)
        assert "error" in bad and len(good["faces"]) == 1
    assert run(capsys, place, "batch @good -o @o.jsonl" + W)[0] == 2
    assert run(capsys, place, "batch @good -o @o.jsonl --overwrite" + W)[0] == 0


def test_film_cut_in_the_middle(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The frames before the damage are written, and the exit code says that some are missing."""
    av = pytest.importorskip("av", reason="PyAV is not installed (extra [video])")
    with av.open(str(place / "f.avi"), "w") as film:
        stream = film.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuvj420p"
        with Image.open(PHOTO) as photo:
            face = photo.convert("RGB").crop((150, 30, 300, 180)).resize((96, 96))
        for i in range(12):
            frame = av.VideoFrame.from_ndarray(np.roll(np.asarray(face), i, 1), "rgb24")
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    code, out, _ = run(capsys, place, "video @f.avi" + W)
    assert code == 0 and len(out.splitlines()) == 12
    data = (place / "f.avi").read_bytes()
    (place / "cut.avi").write_bytes(data[: len(data) // 2])
    code, out, said = run(capsys, place, "video @cut.avi" + W)
    frames = [json.loads(line)["frame"] for line in out.splitlines()]
    assert frames == list(range(len(frames))) and 2 < len(frames) < 12
    assert code == 2 and said.count("\n") == 1 and f"{place / 'cut.avi'}: ends after 0." in said
