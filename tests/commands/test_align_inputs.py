"""The inputs of `acdc-fast align`: files, folders, patterns that the shell did not expand, standard input."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")

from helpers.paths import PHOTO

from acdc_fast.commands import cli


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, a text, and a folder with an image of its own."""
    (tmp_path / "inner").mkdir()
    for name in ("b.jpg", "a.JPG", "inner/c.jpg"):
        (tmp_path / name).write_bytes(PHOTO.read_bytes())
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def aligned(capsys: pytest.CaptureFixture[str], weights: str, *names: str) -> tuple[int, list[dict[str, object]]]:
    code = cli.main(["align", *names, "--json", "--weights", weights])
    return code, json.loads(capsys.readouterr().out)["images"]


def test_folders_and_patterns(folder: Path, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = aligned(capsys, weights, str(folder), str(folder / "*" / "*.jpg"))
    assert code == 0
    assert [image["image"] for image in told] == [str(folder / n) for n in ("a.JPG", "b.jpg", "inner/c.jpg")]
    assert [len(image["faces"]) for image in told] == [1, 1, 1]  # type: ignore[arg-type]


@pytest.mark.parametrize("command", ["align", "batch"])
def test_a_file_where_a_folder_should_be(
    command: str, folder: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if command == "batch":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra [parquet])")
    out = folder / "b.jpg" / "deep" / ("o.csv" if command == "batch" else "a.png")
    assert cli.main([command, str(PHOTO), "-o", str(out), "--weights", weights]) == 1
    assert capsys.readouterr().err == f"acdc-fast: {folder / 'b.jpg'}: is a file, not a folder\n"


def test_what_stands_for_nothing_is_told_and_the_rest_is_done(
    folder: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "empty").mkdir()
    names = [str(folder / "empty"), str(folder / "*.png"), str(folder / "b.jpg")]
    code, told = aligned(capsys, weights, *names)
    assert code == 2 and [image["image"] for image in told] == names
    assert ["error" in image for image in told] == [True, True, False]
    assert str(told[0]["error"]).startswith(f"{folder / 'empty'}: holds no images (.jpg,")
    assert "no such file" in str(told[1]["error"])


def test_a_file_whose_name_looks_like_a_pattern(folder: Path, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "x[1].jpg").write_bytes(PHOTO.read_bytes())
    code, told = aligned(capsys, weights, str(folder / "x[1].jpg"))
    assert code == 0 and len(told) == 1 and "error" not in told[0]


def test_standard_input(weights: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(PHOTO.read_bytes())))
    code, told = aligned(capsys, weights, "-")
    assert code == 0 and len(told[0]["faces"]) == 1  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"no image")))
    code, told = aligned(capsys, weights, "-")
    assert code == 2 and "-" in str(told[0]["error"]) and "not an image" in str(told[0]["error"])
