"""Where commands write: places that are refused, outputs that are there already, folders that are made."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")

from helpers.command_line import run
from helpers.paths import PHOTO

from acdc_fast.files import naming


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
    plain = tmp_path / "plain"
    plain.touch()
    for out, word in ((tmp_path / "a.xyz", "format"), (own, "overwrite"), (plain, "tells no format; name a picture")):
        code, said, err = run(capsys, "align", own, "-o", out, "--weights", weights)
        assert code == 2 and word in err and not said and err.count("\n") == 1
    code, _, err = run(capsys, "align", own, PHOTO, "-o", tmp_path / "one.png", "--weights", weights)
    assert code == 2 and "the results of 2 images need a folder" in err
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


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "loop"])
def test_an_output_takes_the_place_of_no_folder_and_no_device(
    capsys: pytest.CaptureFixture[str], weights: str, tmp_path: Path, kind: str
) -> None:
    """Nor of a pipe, even where it may overwrite; before any work. Run as root, it would take /dev/null away."""
    for command, suffix in (("align", ".json"), ("video", ".jsonl"), ("batch", ".csv"), ("export", ".onnx")):
        place = tmp_path / f"{command}{suffix}"
        if kind == "folder":
            place.mkdir()
        elif kind == "pipe":
            os.mkfifo(place)
        else:
            place.symlink_to(os.devnull if kind == "device" else place.name)
        before = place.lstat()
        source = [tmp_path / "film.mp4"] if command == "video" else [PHOTO]
        words = [place, "--overwrite"] if command == "export" else [*source, "-o", place, "--overwrite"]
        code, said, err = run(capsys, command, *words, "--weights", weights)
        told = {"folder": "is a folder", "loop": "is a link that leads back"}.get(kind, "is a device or a pipe")
        assert code == 2 and not said and err.count("\n") == 1 and f"{place}: {told}" in err
        assert place.lstat() == before and not any(p.name.startswith(".") for p in tmp_path.iterdir())


def test_an_error_that_keeps_its_name_is_said_with_ours(tmp_path: Path) -> None:
    """PyAV's errors of a full disk let nobody set their file's name."""

    class Stubborn(OSError):
        filename = property(lambda self: None)  # type: ignore[assignment]

    with pytest.raises(OSError, match="No space") as raised, naming(tmp_path / "film.mp4"):
        raise Stubborn(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(tmp_path / "film.mp4")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_a_film_that_is_a_loop_of_links(capsys: pytest.CaptureFixture[str], weights: str, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.symlink_to(film.name)
    for more in ([], ["-o", tmp_path / "out.mp4"]):
        code, said, err = run(capsys, "video", film, *more, "--weights", weights)
        assert code == 2 and not said and err.count("\n") == 1 and f"{film}: no such file" in err
