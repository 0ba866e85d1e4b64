"""What the fits share: options, photographs with labels and box, mirror images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.packed import pack
from helpers.people import HEADER, row
from PIL import Image

from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS
from acdc_fast.training.fits import confidence_fit, people_fit, photographs, refinement_fit, visibility_fit
from acdc_fast.training.fits.mirroring import with_mirrored_points, with_mirrored_values
from acdc_fast.training.sampling.batches import open_source
from acdc_fast.training.settings import Source

COMMANDS = (confidence_fit, people_fit, refinement_fit, visibility_fit)


@pytest.mark.parametrize("module", COMMANDS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_fit_has_the_same_options(module: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])  # type: ignore[attr-defined]
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"python -m {module.__name__} in.safetensors" in " ".join(shown.split())  # type: ignore[attr-defined]
    for option in ("WEIGHTS", "--data-root DIR", "--half", "-o FILE"):
        assert option in shown, option


@pytest.mark.parametrize("module", [confidence_fit, refinement_fit, visibility_fit])
def test_a_limit_below_one_is_refused(module: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--config", str(tmp_path / "c.yaml")] if module is refinement_fit else []
    options = ["w", "--data-root", str(tmp_path), "-o", str(tmp_path / "o"), *settings, "--limit", "0"]
    assert module.main(options) == 2  # type: ignore[attr-defined]
    assert capsys.readouterr().err == "error: --limit must be at least 1, not 0\n"


def test_mirror_images_follow_the_faces() -> None:
    points = {"2d68": np.random.default_rng(0).uniform(0, 1, (3, 68, 2))}
    both = with_mirrored_points(points)["2d68"]
    assert both.shape == (6, 68, 2) and np.array_equal(both[:3], points["2d68"])
    assert both[3:, 36] == pytest.approx(points["2d68"][:, 45] * [-1, 1] + [1, 0])  # outer eye corners
    values = with_mirrored_values(np.arange(136.0).reshape(2, 68), "2d68")
    assert values.shape == (4, 68) and values[2, 36] == 45 and values[3, 8] == 68 + 8
    assert np.array_equal(values[2:], values[:2, MARKUPS["2d68"].mirror])


def test_photographs_have_colour_labels_and_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACDC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(photographs, "BATCH", 2)
    names = [f"{i}.jpg" for i in range(3)]
    pack(tmp_path / "aflw68-train.tar", [HEADER, *(row(name, [0] * 68) for name in names)], names)
    source = Source("aflw68", "train", shifts={"2d5": (-2.0, 1.0)})
    database = open_source(source, tmp_path)
    batches = list(photographs.photographs(database, None, source))
    assert [[p.index for p in batch] for batch in batches] == [[0, 1], [2]]
    found = [p for batch in batches for p in batch]
    for photograph in found:
        label = database.annotation(photograph.index)
        assert photograph.rgb.ndim == 3 and photograph.rgb.dtype == np.uint8
        assert photograph.rgb.shape[:2] == database.picture(photograph.index).shape
        assert photograph.face.landmarks["2d5"] - label.landmarks["2d5"] == pytest.approx(np.tile([-2.0, 1.0], (5, 1)))
        assert np.array_equal(photograph.face.landmarks["2d68"], label.landmarks["2d68"])
        low, high = label.landmarks["2d68"].min(0), label.landmarks["2d68"].max(0)
        assert (photograph.box[:2] < high).all() and (photograph.box[2:] > low).all()
    plain = next(photographs.photographs(database, 1))[0]
    assert np.array_equal(plain.face.landmarks["2d5"], database.annotation(0).landmarks["2d5"])


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    faces = np.full((1, 5, 2), 10.0)
    from acdc_fast.training.data.database import Table
    from acdc_fast.training.data.pictures import FolderPictures

    database = Table("made", "train", FolderPictures(tmp_path), ["0"], ["a.png"], {"2d5": faces})
    with pytest.raises(InputError, match=r"a\.png: cannot be read"):
        database.colour(0)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a\.png: not a picture that can be decoded"):
        database.colour(0)
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save(tmp_path / "a.png")
    assert np.array_equal(database.colour(0), red)
