"""The refinement's points, moved to where people put them: on faces whose labels are off by a known convention."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.faces import write_weights
from helpers.packed import pack
from helpers.people import HEADER, row
from helpers.small import arrays_of

from acdc_fast import ACDC, ACDCConfig
from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS, mirrored_points
from acdc_fast.readout.refinement import Refinement, refined, terms_of
from acdc_fast.readout.shape_model import place_and_size
from acdc_fast.training.fits import people_fit
from acdc_fast.training.fits.people_fit import MIN_FACES, Labelled, fit_people, labelled_faces, write_people
from acdc_fast.weights import Weights, load_weights, save_weights

ORDER = ("2d68", "2d5")
WIDTH = 2 * 73


def refinement() -> Refinement:
    """One that moves nothing yet, but has numbers for 68 points."""
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0].astype(np.float32)
    return Refinement(np.zeros(WIDTH, np.float32), basis, {"2d68": np.zeros((terms_of(WIDTH), 2 * 68), np.float32)})


def convention() -> np.ndarray:
    """(68, 2) in sizes of the shape: the jaw lower and farther out, on both sides alike."""
    out = np.zeros((68, 2))
    out[:17, 0], out[:17, 1] = np.linspace(-0.1, 0.1, 17), 0.06
    return out


def faces(count: int = 400, seed: int = 0) -> Labelled:
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(8).uniform(0.2, 0.8, (73, 2))
    base = (base + np.concatenate([mirrored_points(base[:68], "2d68"), mirrored_points(base[68:], "2d5")])) / 2
    points = base + rng.normal(0, 0.004, (count, 73, 2))
    found = {"2d68": points[:, :68], "2d5": points[:, 68:]}
    size = place_and_size(points)[1]
    labels = {"2d68": found["2d68"] + convention() * size, "2d5": found["2d5"] + [0, 0.04] * size}
    return Labelled(found, labels, {m: np.ones(p.shape[:2]) for m, p in found.items()})


def moved(seen: Labelled, fitted: Refinement, markup: str) -> np.ndarray:
    """(N, L, 2) in sizes of the shape."""
    whole = np.concatenate([seen.points[m] for m in ORDER], 1)
    step = refined(seen.points, fitted, ORDER)[markup] - seen.points[markup]
    return np.asarray(step / place_and_size(whole)[1])


def test_the_convention_is_learnt() -> None:
    fitted, fresh = fit_people(faces(), refinement(), ORDER), faces(50, 1)
    assert moved(fresh, fitted, "2d68") == pytest.approx(np.tile(convention(), (50, 1, 1)), abs=2e-3)
    assert moved(fresh, fitted, "2d5") == pytest.approx(np.tile([0, 0.04], (50, 5, 1)), abs=2e-3)


def test_it_is_added_to_what_is_there() -> None:
    once = fit_people(faces(), refinement(), ORDER)
    twice = fit_people(faces(), once, ORDER)
    for markup in ORDER:
        assert moved(faces(20, 1), twice, markup) == pytest.approx(moved(faces(20, 1), once, markup), abs=2e-3)
    half = replace(once, numbers={m: v / 2 for m, v in once.numbers.items()})
    whole = fit_people(faces(), half, ORDER)
    assert moved(faces(20, 1), whole, "2d68") == pytest.approx(np.tile(convention(), (20, 1, 1)), abs=2e-3)
    assert np.array_equal(once.mean, whole.mean) and np.array_equal(once.basis, whole.basis)


def test_both_sides_of_the_face_are_alike() -> None:
    seen = faces()
    seen.labels["2d68"][:, 0] += [0.05, 0.0]  # one side's label is moved: each side gets half of it
    fitted, fresh = fit_people(seen, refinement(), ORDER), faces(20, 1)
    there = refined(fresh.points, fitted, ORDER)
    back = refined({m: mirrored_points(p, m) for m, p in fresh.points.items()}, fitted, ORDER)
    for markup in ORDER:
        assert mirrored_points(back[markup], markup) == pytest.approx(there[markup], abs=3e-3)


def test_points_without_weight_change_nothing() -> None:
    seen, wild, without = faces(), faces(), faces()
    hidden = np.random.default_rng(5).random((400, 68)) < 0.2
    hidden[:, 66] = hidden[:, MARKUPS["2d68"].mirror[66]] = True  # nowhere known
    for some, label in ((seen, 0.7), (wild, -3.0), (without, np.nan)):
        some.weights["2d68"][hidden] = 0.0 if np.isfinite(label) else 1.0  # unknown: left out whatever it weighs
        some.labels["2d68"][hidden] = label
    one, two, three = (fit_people(s, refinement(), ORDER).numbers for s in (seen, wild, without))
    for markup in ORDER:
        assert np.array_equal(one[markup], two[markup]) and np.array_equal(one[markup], three[markup])
    assert not one["2d68"].reshape(-1, 68, 2)[:, 66].any() and one["2d68"].any()


def test_from_photographs_to_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both splits, flags as weights, the five moved by 2.3 pixels, the 68 not."""
    monkeypatch.setenv("ACDC_CACHE", str(tmp_path / "cache"))
    flags = [0] * 68
    flags[3], flags[16] = 1, 2
    pack(tmp_path / "aflw68-train.tar", [HEADER, row("a.jpg", flags), row("b.jpg", None)], ["a.jpg", "b.jpg"])
    config = ACDCConfig(width=4, stages=1, markups=ORDER, variant="ac")
    write_weights(tmp_path / "w.safetensors", config, resolution="32")
    people = labelled_faces(tmp_path / "w.safetensors", tmp_path)
    assert {m: p.shape for m, p in people.points.items()} == {"2d68": (2, 68, 2), "2d5": (2, 5, 2)}
    assert np.isnan(people.labels["2d68"][1]).all() and not people.weights["2d68"][1].any()
    assert people.weights["2d68"][0, 16] == 0 and np.isfinite(people.labels["2d5"]).all()
    monkeypatch.setattr(people_fit, "SOURCES", tuple(replace(s, shifts={}) for s in people_fit.SOURCES))
    plain = labelled_faces(tmp_path / "w.safetensors", tmp_path)
    gap = np.subtract(*(p.labels["2d5"][0] - p.labels["2d68"][0, :1] for p in (people, plain)))
    assert (gap[:, 0] < -1e-3).all() and gap == pytest.approx(gap[:1].repeat(5, 0) * [1, 0], abs=1e-6)


def test_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ACDCConfig(width=4, stages=1, markups=ORDER, variant="ac")
    card = {"licence": "none", "narrowest_spread": "0.01", "presence": "2.5"}
    path, out = tmp_path / "w.safetensors", tmp_path / "out.safetensors"
    save_weights(path, Weights(config, arrays_of(ACDC(config)), refinement=refinement(), card=card))
    with pytest.raises(InputError, match=f"from {MIN_FACES} faces at least, here are {MIN_FACES - 1}"):
        write_people(path, faces(MIN_FACES - 1), out)
    assert not out.exists()
    write_people(path, faces(), out, half=True)
    assert "2d68: " in capsys.readouterr().out
    written = load_weights(out)
    assert written.refinement is not None and written.card == card
    expected = fit_people(faces(), refinement(), ORDER).numbers
    for markup in ORDER:
        assert written.refinement.numbers[markup] == pytest.approx(expected[markup], abs=1e-3)
    save_weights(path, Weights(config, arrays_of(ACDC(config)), card=card))
    with pytest.raises(InputError, match="has no refinement"):
        write_people(path, faces(), out)


def test_a_ridge_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for ridge in ("0", "-1", "nan", "inf"):
        where = ["--data-root", str(tmp_path), "-o", str(tmp_path / "out")]
        assert people_fit.main([str(tmp_path / "w.safetensors"), *where, f"--ridge={ridge}"]) == 2
        assert "--ridge must be above 0" in capsys.readouterr().err
