"""Exit codes of `train` and `evaluate` on good, partly bad and wholly bad input, as `test_exit_codes` has the others.

Partly bad input ends them, because results over other faces than were asked for would mislead: code 2, one line that
names the face and what to do. With --skip-broken they go on without it.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch (extra [train])")
pytest.importorskip("cv2", reason="training needs OpenCV (extra [train])")
pytest.importorskip("tensorboard", reason="training needs TensorBoard (extra [train])")

import torch
from helpers.faces import SETTINGS, write_faces, write_weights

from acdc_fast import ACDCConfig
from acdc_fast.commands import cli
from acdc_fast.training.loop.checkpoint import NAME, load_checkpoint

TRAIN = "train --device cpu --until 1 --config @small.yaml --data-root "
EVALUATE = "evaluate @w.safetensors --device cpu --databases mtfl/train --json --data-root "


def break_picture(tar: Path, instead: bytes) -> None:
    """The second picture's first bytes are replaced; the tar itself stays whole."""
    data = bytearray(tar.read_bytes())
    where = data.index(b"\xff\xd8\xff", data.index(b"\xff\xd8\xff") + 512)
    data[where : where + len(instead)] = instead
    tar.write_bytes(data)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of drawn faces: good, partly (one broken picture of twelve), wholly (no tar), empty (a table alone)."""
    root = tmp_path_factory.mktemp("exit-codes")
    for name in ("good", "partly", "wholly", "empty", "nothing"):
        (root / name).mkdir()
    write_faces(root / "good")
    shutil.copy(root / "good" / "mtfl-train.tar", root / "partly" / "mtfl-train.tar")
    break_picture(root / "partly" / "mtfl-train.tar", b"\x1b[2J" + bytes(200))
    (root / "wholly" / "mtfl-train.tar").write_bytes(b"\x1b[2J no tar" * 99)
    write_faces(root / "empty", 0)
    (root / "small.yaml").write_text(SETTINGS.replace("batch: 4", "batch: 12"))
    (root / "typed.yaml").write_text(SETTINGS.replace("workers: 0", "workers: many"))
    (root / "unknown.yaml").write_text(SETTINGS + "speed: fast\n")
    (root / "list.yaml").write_text("[]\n")
    (root / "bad.safetensors").write_bytes(b"\x10" * 99)
    write_weights(
        root / "w.safetensors", ACDCConfig(width=4, stages=2, variant="ac", markups=("2d5",)), resolution="32"
    )
    return root


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (TRAIN + "@good --out @+", 0, ""), (TRAIN + "@partly --out @+ --skip-broken", 0, ""),
        (TRAIN + "@partly --out @+", 2, "faces/1.jpg: not a picture that can be decoded"),
        (TRAIN + "@wholly --out @+", 2, "cannot be read as a tar"), (TRAIN + "@empty --out @+", 2, "no faces"),
        (TRAIN + "@nothing --out @+", 2, "nothing/"), (TRAIN + "@absent --out @+", 2, "no such folder"),
        (TRAIN + "@good --out @+ --init @absent", 2, "absent: there is no such weights file"),
        (TRAIN + "@good --out @+ --init @bad.safetensors", 2, "bad.safetensors"),
        (TRAIN + "@good --out @+ --resume", 2, "no checkpoint there"),
        (TRAIN + "@good --out @small.yaml", 2, "small.yaml: is a file, not a folder"),
        (TRAIN + "@good --out @small.yaml/x", 1, "small.yaml: is a file, not a folder"),
        (TRAIN.replace("1 ", "0 ") + "@good --out @+", 2, "--until must be at least 1, not 0"),
        (TRAIN.replace("1 ", "-3 ") + "@good --out @+", 2, "--until must be at least 1, not -3"),
        (TRAIN.replace("small.yaml", "good") + "@good --out @+", 2, "acdc-fast: ROOT/good: cannot be read: it is not"),
        (TRAIN + "@good --out /proc/r", 1, "/proc/r"),
        (TRAIN.replace("small", "typed") + "@good --out @+", 2, "workers"),
        (TRAIN.replace("small", "unknown") + "@good --out @+", 2, "speed"),
        (TRAIN.replace("small", "list") + "@good --out @+", 2, "list.yaml"),
        (EVALUATE + "@good", 0, ""), (EVALUATE + "@partly --skip-broken", 0, ""),
        (EVALUATE + "@partly", 2, "faces/1.jpg: not a picture that can be decoded"),
        (EVALUATE + "@wholly", 2, "cannot be read as a tar"), (EVALUATE + "@empty", 2, "no faces"),
        (EVALUATE + "@nothing", 2, "nothing/"), (EVALUATE + "@absent", 2, "no such folder"),
        (EVALUATE + "@good --limit 0", 2, "--limit"), (EVALUATE + "@good --resolution 33", 2, "--resolution"),
        (EVALUATE + "@good --hide", 2, "--hide prints a table"), (EVALUATE + "@good --half", 2, "--half needs"),
        (EVALUATE + "@good --pose-ridge 2", 2, "--pose-ridge needs --pose"),
        (EVALUATE + "@good --pose @+ --calibrate @+", 2, "two outputs have one place"),
        (EVALUATE + "@good --figures @small.yaml", 2, "small.yaml: is a file, not a folder"),
        (EVALUATE + "@good --report /dev/null --overwrite", 2, "/dev/null: is a device or a pipe"),
        (EVALUATE + "@good --resolution 8000000", 2, "from 32 to 4096"),
        (EVALUATE.replace("@w.", "@absent.") + "@good", 2, "absent.safetensors: there is no such weights file"),
        (EVALUATE.replace("mtfl/train", "mtfl/train[3:3]") + "@good", 2, "no faces"),
        (EVALUATE.replace("mtfl/train", "nonesuch") + "@good", 2, "nonesuch"),
        (EVALUATE + "@good --report /proc/r.html", 1, "/proc/r.html"), ("train", 2, None), ("evaluate", 2, None),
    ],
)  # fmt: skip
def test_exit_code(
    line: str, code: int, says: str | None, place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if "/proc" in line and not Path("/proc/self").exists():
        pytest.skip("needs a folder that takes no files, as Linux's /proc")
    monkeypatch.setenv("ACDC_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    says = says and says.replace("ROOT", str(place))
    words = [str(out) if word == "@+" else word.replace("@", f"{place}/") for word in line.split()]
    try:
        got = cli.main(words)
    except SystemExit as stopped:  # argparse
        got = int(stopped.code or 0)
    said = capfd.readouterr()
    assert got == code, said.err
    assert "Traceback" not in said.err and "\x1b" not in said.err + said.out
    if code == 0:
        assert (out / "weights.safetensors").exists() if line.startswith("train") else '"faces"' in said.out
    elif says is not None:
        begun, last = ([""] + said.err.splitlines())[-2:]  # `train` says that it begins
        assert begun == "" or " faces, updates 0 to " in begun, said.err
        assert last.startswith("acdc-fast: ") and says in last and said.err.endswith(f"{last}\n"), said.err
        assert len(last) < 1100
    if code == 2:
        assert not (out / "weights.safetensors").exists()


def test_what_was_learnt_before_a_broken_picture_is_kept(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No checkpoint is due for an hour; the first update that draws the broken face is not the first one."""
    (tmp_path / "many.yaml").write_text((place / "small.yaml").read_text().replace("batch: 12", "batch: 1"))
    words = f"train --config {tmp_path}/many.yaml --data-root {place}/partly --device cpu --out {tmp_path}/out".split()
    assert cli.main(words) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    step = int(re.search(r"update ([0-9]+) is saved, --resume goes on from there", last)[1])  # type: ignore[index]
    assert step > 0 and load_checkpoint(tmp_path / "out" / NAME)["step"] == step
    assert cli.main([*words, "--resume", "--skip-broken"]) == 0
    assert (tmp_path / "out" / "weights.safetensors").exists()


def test_weights_that_are_no_numbers_leave_the_checkpoint(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--resume with a smaller rate goes on from the last sound one."""
    words = [word.replace("@", f"{place}/") for word in (TRAIN + "@good --out").split()] + [str(tmp_path / "out")]
    assert cli.main(words) == 0
    before = (tmp_path / "out" / NAME).read_bytes()
    norms = iter([1.0, float("nan")])
    monkeypatch.setattr("acdc_fast.training.loop.update.clip_grad_norm_", lambda *_: torch.tensor(next(norms)))
    (tmp_path / "slow.yaml").write_text((place / "small.yaml").read_text().replace("checkpoint_minutes: 0", ""))
    words[words.index("--config") + 1] = str(tmp_path / "slow.yaml")
    words[words.index("--until") + 1] = "8"
    assert cli.main([*words, "--resume"]) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert "update 2: the gradient is not finite" in last and "is saved" not in last
    assert (tmp_path / "out" / NAME).read_bytes() == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no files, as Linux's /proc")
def test_a_cache_that_cannot_be_written_promises_no_checkpoint(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACDC_CACHE", "/proc/cache")
    words = [word.replace("@", f"{place}/") for word in (TRAIN + "@good --out").split()] + [str(tmp_path / "out")]
    assert cli.main(words) == 1
    told = capfd.readouterr().err
    assert "/proc/cache: No such file or directory; nothing was saved yet: begin again\n" in told


def test_a_run_that_is_there_is_not_begun_anew(place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [word.replace("@", f"{place}/") for word in (TRAIN + "@good --out").split()] + [str(tmp_path)]
    assert cli.main(words) == 0
    before = (tmp_path / "weights.safetensors").read_bytes()
    assert cli.main(words) == 2 and "add --resume" in capfd.readouterr().err
    assert cli.main([*words, "--resume"]) == 0
    assert (tmp_path / "weights.safetensors").read_bytes() == before
