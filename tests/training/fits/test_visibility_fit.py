"""Whether a point is in sight, fitted to flags: on faces whose points are hidden by a known rule."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers import packed
from helpers.people import HEADER, row
from helpers.small import fitted, small_weights

from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS
from acdc_fast.readout.visibility import visible
from acdc_fast.training.data.aflw68 import AWAY_FLAG, COVERED_FLAG, VISIBLE_FLAG
from acdc_fast.training.data.sample import Annotation
from acdc_fast.training.fits import visibility_faces, visibility_fit
from acdc_fast.training.fits.calibration import expected_calibration_error
from acdc_fast.training.fits.visibility_faces import HIDDEN, Flagged, observe
from acdc_fast.training.fits.visibility_fit import (
    AWAY,
    area_under_curve,
    fit_logistic,
    fit_visibility,
    flag_chances,
    write_visibility,
)
from acdc_fast.training.sampling.batches import open_source
from acdc_fast.training.settings import Source
from acdc_fast.weights import load_weights, save_weights

MIRROR = MARKUPS["2d68"].mirror


def flagged(count: int = 500, seed: int = 0) -> Flagged:
    """Maps 6 … 73 of the terms are those of the 68 points: wide ones are covered; points left of the middle are turned
    away where yaw is large, those right of it where it is large the other way."""
    rng = np.random.default_rng(seed)
    wide, yaw = rng.normal(0, 1, (count, 68)), rng.normal(0, 1, count)
    side = np.where(np.arange(68) < MIRROR, 1, np.where(np.arange(68) > MIRROR, -1, 0))

    def of(wide: np.ndarray, yaw: np.ndarray) -> np.ndarray:
        turned = np.column_stack([np.ones(count), yaw, 0 * yaw, yaw * yaw, 0 * yaw, 0 * yaw])
        return np.concatenate([turned, wide], 1)

    flags = np.where(wide > 1.2, COVERED_FLAG, VISIBLE_FLAG)
    flags = np.where(side * yaw[:, None] > 1.4, AWAY_FLAG, flags)
    return Flagged(of(wide, yaw), of(wide[:, MIRROR], -yaw), flags)


@pytest.fixture(autouse=True)
def single_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here one map alone tells of its point. On faces many do, and share out what is said."""
    monkeypatch.setattr(visibility_fit, "MANY", 1.0)


def test_both_causes_are_learnt() -> None:
    found, fresh = fit_visibility(flagged()), flagged(200, 1)
    chance = visible(fresh.terms, found, "2d68")
    assert area_under_curve(chance, fresh.flags, COVERED_FLAG) > 0.93
    assert area_under_curve(chance, fresh.flags, AWAY_FLAG) > 0.93
    back = visible(fresh.mirrored, found, "2d68")
    assert back[:, MIRROR] == pytest.approx(chance, abs=1e-4)
    assert expected_calibration_error(chance.ravel(), (fresh.flags == VISIBLE_FLAG).ravel()) < 0.06
    assert found.scale[0] == pytest.approx(AWAY)


def test_labels_without_flags_are_named() -> None:
    face = Annotation(source="mtfl", name="a.jpg", landmarks={"2d5": np.zeros((5, 2), np.float32)})
    with pytest.raises(InputError, match="mtfl: its labels do not say which points are in sight"):
        visibility_faces._flags(face, np.zeros((9, 9), bool))


def test_hidden_rendered_points_go_to_the_likelier_cause() -> None:
    people, drawn = flagged(), flagged(300, 2)
    found = fit_visibility(people)
    unknown = replace(drawn, flags=np.where(drawn.flags == VISIBLE_FLAG, VISIBLE_FLAG, HIDDEN))
    likely = flag_chances(unknown, found)[1][:300]
    assert likely.sum(2) == pytest.approx(1) and not likely[drawn.flags == VISIBLE_FLAG][:, 1:].any()
    away = likely[..., AWAY_FLAG]
    assert away[drawn.flags == AWAY_FLAG].mean() > 0.8 > 0.2 > away[drawn.flags == COVERED_FLAG].mean()
    assert not flag_chances(unknown)[1][:300][unknown.flags == HIDDEN].any()  # without causes they say nothing
    both = fit_visibility(people, None, unknown)
    assert not np.array_equal(both.numbers["2d68"], found.numbers["2d68"])


def test_logistic_numbers_are_those_of_the_largest_likelihood() -> None:
    rng = np.random.default_rng(0)
    inputs = np.column_stack([np.ones(20000), rng.normal(size=20000)])
    yes = (rng.random(20000) < 1 / (1 + np.exp(-(0.5 - 1.5 * inputs[:, 1])))).astype(float)
    assert fit_logistic(inputs, yes, 1 - yes, np.full(2, 1e-3)) == pytest.approx([0.5, -1.5], abs=0.06)
    twice = fit_logistic(inputs[:, :1], np.full(20000, 0.3), np.full(20000, 0.1), np.full(1, 1e-6))
    assert twice == pytest.approx([np.log(3)], abs=1e-3)


def test_area_under_the_curve() -> None:
    chance, flags = np.array([0.9, 0.8, 0.4, 0.5, 0.1]), np.array([0, 0, 0, 1, 1])
    assert area_under_curve(chance, flags, COVERED_FLAG) == pytest.approx(5 / 6)
    assert area_under_curve(1 - chance, flags, COVERED_FLAG) == pytest.approx(1 / 6)


def test_from_photographs_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACDC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packed, "jpeg", partial(packed.jpeg, 100, 150))
    flags = [0] * 68
    flags[3], flags[16] = 1, 2
    # The turned-away point has no place, so the box is that of the five.
    rows = [HEADER, row("a.jpg", flags), row("b.jpg", [0] * 68)]
    packed.pack(tmp_path / "aflw68-train.tar", rows, ["a.jpg", "b.jpg"])
    weights = small_weights()
    refinement, pose = fitted(weights)
    path, out = tmp_path / "w.safetensors", tmp_path / "out.safetensors"
    save_weights(path, weights)
    with pytest.raises(InputError, match="needs a refinement"):
        write_visibility(path, tmp_path, out, [], 10, False)
    save_weights(path, replace(weights, refinement=refinement, pose=pose, card={"resolution": "32"}))
    from acdc_fast import Model

    seen = observe(Model(path, threads=1), open_source(Source("aflw68"), tmp_path))
    assert seen.flags.shape == (2, 68) and (seen.flags[0, 3], seen.flags[0, 16]) == (COVERED_FLAG, AWAY_FLAG)
    assert seen.terms.shape == seen.mirrored.shape and not np.array_equal(seen.terms, seen.mirrored)
    with pytest.raises(InputError, match="300 flagged photographs at least, here are 2"):
        write_visibility(path, tmp_path, out, [], 10, False)
    monkeypatch.setattr(visibility_fit, "MIN_FACES", 2)
    write_visibility(path, tmp_path, out, [], 10, True)
    assert "people: area under the curve: covered" in capsys.readouterr().out
    written = load_weights(out)
    assert written.visibility is not None and list(written.visibility.numbers) == ["2d68"]
    assert np.isfinite(written.visibility.numbers["2d68"]).all() and written.refinement is not None
