"""What tells upright faces, fitted: on terms of a known rule, and from photographs to a file."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers import packed
from helpers.people import HEADER, row
from helpers.small import fitted, small_weights

from acdc_fast import Model
from acdc_fast.errors import InputError
from acdc_fast.photo.coordinates import square_from_box
from acdc_fast.training.fits import orientation_fit
from acdc_fast.training.fits.orientation_fit import LEAN, Seen, fit_upright, observe, two_squares, write_upright
from acdc_fast.training.sampling.batches import open_source
from acdc_fast.training.settings import Source
from acdc_fast.weights import load_weights, save_weights


def test_the_squares_lean_or_are_turned() -> None:
    box = np.array([30.0, 40, 130, 140])
    square = square_from_box(box[None])[0]
    both = np.array([two_squares(box, np.random.default_rng(k)) for k in range(600)])
    away = (both[..., :2] - square[:2]) / both[..., 2:3]
    assert np.abs(both[:, 0, 3]).max() <= LEAN and np.abs(both[:, 0, 3]).max() > 0.95 * LEAN
    quarters = np.round(both[:, 1, 3] / 90)
    assert all(0.28 < (quarters == k).mean() < 0.39 for k in (1, 2, 3))
    assert (both[:, 1, 3] - 90 * quarters).std() == pytest.approx(12, rel=0.15)
    assert away.std((0, 1)) == pytest.approx([0.05, 0.05], rel=0.15)
    assert np.log(both[..., 2] / square[2]).std() == pytest.approx(0.12, rel=0.15)
    assert np.array_equal(two_squares(box, np.random.default_rng(3)), both[3])


def test_a_known_rule_is_learnt() -> None:
    """Of ten maps the third is wider on faces that are not upright. The others say nothing, and one never changes."""
    rng = np.random.default_rng(0)
    upright = rng.random(2000) < 0.5
    wide = rng.normal(-3, 0.2, (2000, 10))
    wide[:, 2] += np.where(upright, 0, 1.0)
    wide[:, 5] = -2.0
    found = fit_upright(Seen(np.concatenate([np.ones((2000, 1)), wide], 1), upright), ridge=10)
    odds = np.concatenate([np.ones((2000, 1)), wide], 1) @ found.numbers
    assert ((odds > 0) == upright).mean() > 0.98
    assert found.numbers[3] < -7 and np.abs(np.delete(found.numbers[1:], 2)).max() < 1.5
    swapped = fit_upright(Seen(np.concatenate([np.ones((2000, 1)), wide], 1), ~upright), ridge=10)
    assert swapped.numbers == pytest.approx(-found.numbers, abs=0.02)


def test_from_photographs_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACDC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packed, "jpeg", partial(packed.jpeg, 100, 150))
    packed.pack(
        tmp_path / "aflw68-train.tar", [HEADER, row("a.jpg", [0] * 68), row("b.jpg", [0] * 68)], ["a.jpg", "b.jpg"]
    )
    weights, sources = small_weights(), (Source("aflw68"),)
    refinement, pose = fitted(weights)
    path, out = tmp_path / "w.safetensors", tmp_path / "out.safetensors"
    save_weights(path, replace(weights, refinement=refinement, pose=pose, card={"resolution": "32"}))
    seen = observe(Model(path, threads=1), open_source(Source("aflw68"), tmp_path), None)
    assert seen.terms.shape == (4, 1 + sum(weights.config.points.values()))
    assert seen.upright.tolist() == [True, False, True, False] and np.isfinite(seen.terms).all()
    assert not np.array_equal(seen.terms[0], seen.terms[1])
    with pytest.raises(InputError, match="300 faces at least, here are 2"):
        write_upright(path, tmp_path, out, None, sources=sources)
    monkeypatch.setattr(orientation_fit, "MIN_FACES", 2)
    write_upright(path, tmp_path, out, None, True, sources)
    assert "of 2 upright and" in capsys.readouterr().out
    written = load_weights(out)
    assert written.upright is not None and written.refinement is not None
    assert written.upright.numbers == pytest.approx(fit_upright(seen).numbers, rel=1e-4, abs=1e-6)
