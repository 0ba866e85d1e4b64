"""The fit of blendshapes: on made-up faces, in which each expression moves points of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.made_up import write as write_model
from helpers.small import small_weights

from acdc_fast.markups import MARKUPS, mirrored_points
from acdc_fast.model import Model
from acdc_fast.photo.coordinates import euler_to_matrix
from acdc_fast.readout import blendshapes as readout_module
from acdc_fast.readout.blendshapes import NAMES, blendshapes, packaged
from acdc_fast.training.data import open_database
from acdc_fast.training.fits.blendshapes_fit import (
    Errors,
    Expressive,
    errors,
    fit_blendshapes,
    kept,
    main,
    observe,
    predicted,
    table,
    together,
    write,
)
from acdc_fast.training.observations import chosen
from acdc_fast.weights import save_weights

#: Each moves one point of the 3D markup: the corner of the mouth or the lid on its own side, the chin.
MOVES = {
    "jawOpen": (8, (0.0, 1.0)),
    "mouthSmileLeft": (54, (0.5, -0.8)),
    "mouthSmileRight": (48, (-0.5, -0.8)),
    "eyeBlinkLeft": (44, (0.0, 0.6)),
    "eyeBlinkRight": (37, (0.0, 0.6)),
}


def symmetrical(markup: str, seed: int) -> np.ndarray:
    points = np.random.default_rng(seed).normal(0, 30, (MARKUPS[markup].points, 2))
    return (points + mirrored_points(points[None], markup)[0]) / 2


BASE = {"2d98": symmetrical("2d98", 7), "3d68": symmetrical("3d68", 8)}


def faces(count: int, seed: int, noise: float = 1.0) -> Expressive:
    rng = np.random.default_rng(seed)
    values = np.zeros((count, 52))
    points = {markup: of + rng.normal(0, noise, (count, *of.shape)) for markup, of in BASE.items()}
    for name, (point, way) in MOVES.items():
        strength = np.where(rng.random(count) < 0.4, rng.uniform(0.2, 1, count), 0)
        values[:, NAMES.index(name)] = strength
        points["3d68"][:, point] += 25 * strength[:, None] * np.array(way)
    values[:, NAMES.index("cheekPuff")] = rng.uniform(0, 1, count)  # nothing shows it
    angles = rng.normal(0, 8, (3, count))
    return Expressive(points, euler_to_matrix(angles[0], angles[1], 0 * angles[2]), values)


@pytest.fixture(scope="module")
def fitted() -> tuple[Expressive, readout_module.Readout]:
    train = faces(1500, 0)
    return train, fit_blendshapes(train)


def test_what_shows_is_kept_under_its_own_name(fitted: tuple[Expressive, readout_module.Readout]) -> None:
    train, readout = fitted
    test = faces(300, 1)
    found = errors(readout, train, test)
    assert {NAMES[k] for k in kept({"one": found})} == set(MOVES)
    for name in MOVES:
        k = NAMES.index(name)
        assert found.correlation[k] > 0.8 and found.error[k] < 0.6 * found.constant[k], name
        others = [NAMES.index(other) for other in MOVES if other != name]
        assert max(np.corrcoef(predicted(readout, test)[:, k], test.values[:, o])[0, 1] for o in others) < 0.3, name
    lines = table({"one": found}).splitlines()
    assert len(lines) == 2 + 52 and sum("read out" in line for line in lines) == len(MOVES)


def test_mirror_images_are_told_the_other_way(fitted: tuple[Expressive, readout_module.Readout]) -> None:
    _, readout = fitted
    test = faces(50, 2)
    here, there = predicted(readout, test), predicted(readout, test.mirrored())
    left, right = NAMES.index("mouthSmileLeft"), NAMES.index("mouthSmileRight")
    assert there[:, left] == pytest.approx(here[:, right], abs=1e-6)
    assert test.mirrored().values[:, left] == pytest.approx(test.values[:, right])
    assert test.mirrored().mirrored().joined == pytest.approx(test.joined, abs=1e-9)


def test_the_file_gives_what_was_fitted(
    fitted: tuple[Expressive, readout_module.Readout], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, order and numbers, through the file and the function that `Model.align` calls."""
    _, readout = fitted
    test, places = faces(40, 3), sorted(NAMES.index(name) for name in MOVES)
    write(readout, places, tmp_path / "b.safetensors")
    monkeypatch.setattr(readout_module, "FILE", tmp_path / "b.safetensors")
    packaged.cache_clear()
    try:
        found = blendshapes(test.points, test.matrix)
    finally:
        packaged.cache_clear()
    assert list(found) == [NAMES[k] for k in places]
    wanted = predicted(readout, test)
    for name, values in found.items():
        assert values == pytest.approx(wanted[:, NAMES.index(name)], abs=1e-3), name
        assert np.abs(values - test.values[:, NAMES.index(name)]).mean() < 0.12, name


def test_a_name_counts_only_where_every_network_and_both_sides_tell_it() -> None:
    constant = np.full(52, 0.1)
    good, bad = np.full(52, 0.08), np.full(52, 0.081)
    clear, unclear = Errors(good, constant, constant), Errors(bad, constant, constant)
    assert len(kept({"a": clear})) == 52 and kept({"a": clear, "b": unclear}) == []
    one = replace(clear, error=np.where(np.arange(52) == NAMES.index("eyeBlinkLeft"), 0.09, 0.05))
    assert NAMES.index("eyeBlinkRight") not in kept({"a": one}) and len(kept({"a": one})) == 50
    assert kept({"a": Errors(np.zeros(52), np.zeros(52), constant)}) == []  # the tongue is never out: nothing to beat


def test_faces_that_a_network_reads_keep_their_own_values(tmp_path: Path) -> None:
    write_model(tmp_path)
    database = open_database("expressive", tmp_path, "train")
    model = Model(small_weights(stages=1), resolution=32, threads=1)
    seen = observe(model, database, 3)
    assert seen.points["2d98"].shape == (3, 98, 2) and seen.matrix.shape == (3, 3, 3)
    for row, index in zip(seen.values, chosen(database, 3), strict=True):
        assert row == pytest.approx(database.annotation(index).attributes["blendshapes"], abs=1e-6)
    assert len(together([seen, seen]).values) == 6


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_weights(tmp_path / "w.safetensors", small_weights(stages=1, markups=("2d68", "2d5", "3d68")))
    options = [str(tmp_path / "w.safetensors"), "--data-root", str(tmp_path), "-o", str(tmp_path / "o")]
    assert main(options) == 2
    assert "blendshapes are read from 2d98, 3d68 and the head pose" in capsys.readouterr().err
    assert main([*options, "--limit", "0"]) == 2
    assert capsys.readouterr().err == "error: --limit must be at least 1, not 0\n"
