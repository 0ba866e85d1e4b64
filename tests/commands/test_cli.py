"""The command line as people and scripts meet it: exit codes, one-line errors, JSON, no stack traces."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.patience import PATIENCE

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")

from helpers.command_line import process, run
from helpers.paths import PHOTO

from acdc_fast.commands import cli


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
