"""A batch job is killed, torn and starved of disk at every call that touches its output; the same command then ends
with the bytes of an undisturbed run and nothing else in the folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra [parquet])")

from helpers.small import small_weights

from acdc_fast.weights import save_weights

TESTS = Path(__file__).parents[1]
PHOTO = TESTS.parent / "examples" / "astronaut.jpg"
#: Seconds until a run of all trials is taken to hang. Its hundreds of processes take long on a busy machine.
PATIENCE = 3600


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.parametrize(
    ("suffix", "before", "hows"),
    [(".parquet", "fresh", "kill,torn,full"), (".csv", "replaces", "kill")],
)
def test_struck_at_every_call(suffix: str, before: str, hows: str, tmp_path: Path) -> None:
    images = tmp_path / "in"
    images.mkdir()
    with Image.open(PHOTO) as photo:
        face = photo.crop((150, 30, 300, 210))
        for i in range(6):
            face.rotate(2 * i).resize((72 + 4 * i, 90)).save(images / f"{i}.png")
    Image.new("RGB", (40, 30)).save(images / "blank.png")
    (images / "3broken.jpg").write_bytes(b"")
    save_weights(tmp_path / "w.safetensors", small_weights(stages=2))
    run = subprocess.run(
        [sys.executable, "-m", "helpers.batch_trials", str(tmp_path), suffix, before, hows],
        env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    names = {call.split()[0] for call in report["calls"]}
    assert {"open", "write", "fsync", "replace", "unlink", "rmdir", "mkdir"} <= names and report["trials"] > 40, report
    print(report["trials"], "trials over", len(report["calls"]), "calls")
    assert not report["faults"], "\n".join(report["faults"])
