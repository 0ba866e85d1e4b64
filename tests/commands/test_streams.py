"""Streams that are closed, or that have no letter for what is to be said; names of files that are no text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.patience import PATIENCE

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")

from helpers.command_line import process
from helpers.paths import PHOTO

CLOSED = {"stdin": "<&-", "stdout": ">&-", "stderr": "2>&-"}


@pytest.mark.parametrize("stream", CLOSED)
def test_a_closed_stream_leads_nowhere(stream: str, weights: str, tmp_path: Path) -> None:
    out = tmp_path / "o.json"
    inputs = "- nowhere.jpg" if stream == "stdin" else f"{PHOTO} nowhere.jpg"
    command = f"{sys.executable} -m acdc_fast.commands.cli align {inputs} --weights {weights} -o {out} {CLOSED[stream]}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("\n") == {"stdin": 2, "stdout": 1, "stderr": 0}[stream], done.stderr
    assert "nowhere" not in done.stdout  # complaints stay out of the results
    told = json.loads(out.read_text())["images"]
    assert ["error" in image for image in told] == [stream == "stdin", True]


def test_a_stream_without_the_letters(weights: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = process("align", PHOTO, "--weights", weights, env=environment)
    assert done.returncode == 0 and "\\xb0" in done.stdout, done.stderr  # the degrees of the head pose


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_names_that_are_no_text(weights: str, tmp_path: Path) -> None:
    for name in (b"bad\xff.jpg", "gr\u00fcn\n\x1b[31m.jpg".encode()):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(PHOTO.read_bytes())
    done = process("align", tmp_path, "--weights", weights, "-o", tmp_path / "o.json")
    assert done.returncode == 0, done.stderr
    told = {image["image"] for image in json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))["images"]}
    assert told == {f"{tmp_path}/bad\\xff.jpg", f"{tmp_path}/gr\u00fcn\n\x1b[31m.jpg"}
    lines = process("align", tmp_path, "--weights", weights)
    heads = [line for line in lines.stdout.splitlines() if ": 1 face" in line]
    assert lines.returncode == 0 and len(heads) == 2 and "\x1b" not in lines.stdout, lines.stderr
    ascii_json = process(
        "align", tmp_path, "--json", "--weights", weights, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert {image["image"] for image in json.loads(ascii_json.stdout)["images"]} == told
