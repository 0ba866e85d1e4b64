"""The landmarks' polynomial, fitted to faces whose points are off by a known law."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.faces import find_by_hand, write_faces, write_weights

from acdc_fast import ACDCConfig
from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS, five_points
from acdc_fast.readout.refinement import Refinement, refined
from acdc_fast.readout.shape_model import place_and_size
from acdc_fast.training.fits import refinement_fit
from acdc_fast.training.fits.refinement_fit import (
    FOLLOW,
    MIN_FACES,
    STAY,
    Labelled,
    fit_refinement,
    targets,
    write_refinement,
)
from acdc_fast.weights import load_weights

ORDER = ("2d5", "3d68")


def faces(count: int, seed: int = 0) -> Labelled:
    """Faces of twenty modes, found exactly but for the jaw, which is off by a third of what the nose sticks out;
    one label in ten is wild."""
    rng = np.random.default_rng(seed)
    modes = np.random.default_rng(9).normal(0, 0.02, (20, 73, 2))
    base = np.random.default_rng(8).uniform(0.2, 0.8, (73, 2))
    points = base + np.tensordot(rng.normal(size=(count, 20)), modes, 1)
    found = {"2d5": points[:, :5], "3d68": points[:, 5:]}
    truth = found["3d68"].copy()
    truth[:, :17] += law(found["3d68"])
    wild = rng.random(count) < 0.1
    truth[wild] += rng.normal(0, 0.2, (int(wild.sum()), 68, 2))
    return Labelled(found, {"3d68": truth})


def law(points: np.ndarray) -> np.ndarray:
    """(N, 68, 2) → (N, 1, 2): no mirror image contradicts it."""
    return (points[:, 30:31] - points[:, [27, 33]].mean(1, keepdims=True)) / 3


def test_the_law_is_found_among_wild_labels() -> None:
    seen = faces(3000)
    fitted, fresh = fit_refinement([seen], ORDER, ["3d68"]), faces(500, 1)
    after = refined(fresh.points, fitted, ORDER)["3d68"]
    jaw = after[:, :17] - fresh.points["3d68"][:, :17] - law(fresh.points["3d68"])
    assert np.abs(jaw).mean() < 0.1 * np.abs(law(fresh.points["3d68"])).mean()
    assert np.abs(after - fresh.points["3d68"])[:, 17:].mean() < 2e-3


def test_both_sides_of_the_face_are_alike() -> None:
    seen = faces(1500)
    fitted = fit_refinement([seen], ORDER, ["3d68"])
    there = refined(seen.points, fitted, ORDER)["3d68"]
    mirrored = {m: (p * [-1, 1] + [1, 0])[:, MARKUPS[m].mirror] for m, p in seen.points.items()}
    back = refined(mirrored, fitted, ORDER)["3d68"]
    assert (back * [-1, 1] + [1, 0])[:, MARKUPS["3d68"].mirror] == pytest.approx(there, abs=1e-4)


def test_five_points_alone_are_followed_and_the_rest_stays() -> None:
    own = faces(50)
    size = place_and_size(own.points["3d68"])[1]
    people = five_points(own.points["3d68"]) + size * [0.05, 0.1]  # another definition: no reason to move
    people[7, 0] += [0.03, -0.01]
    target, weights = targets(Labelled(own.points, {"2d5": people}), "3d68") or (None, None)
    assert target is not None and weights is not None
    gap = target - own.points["3d68"]
    eye = np.arange(36, 42)
    assert gap[7, eye] == pytest.approx(np.tile([0.03, -0.01], (6, 1)), abs=1e-6)
    gap[7, eye] = 0
    assert np.abs(gap).max() < 1e-6
    follows = [*range(36, 48), 30, 48, 54]
    assert (weights[follows] == FOLLOW).all() and (np.delete(weights, follows) == STAY).all()
    assert targets(Labelled(own.points, {"2d5": people, "2d68": own.points["3d68"]}), "3d68") is None


def test_people_s_five_points_hold_what_other_labels_would_move() -> None:
    labelled, other = faces(2000), faces(2000, 1)
    labelled.labels["3d68"][:, 48:] += law(labelled.points["3d68"])  # type: ignore[index]
    five = Labelled(other.points, {"2d5": five_points(other.points["3d68"])})

    def moved(refinement: Refinement) -> float:
        after = refined(other.points, refinement, ORDER)["3d68"]
        return float(np.abs(after - other.points["3d68"])[:, [48, 54]].mean())

    alone, held = (fit_refinement(data, ORDER, ["3d68"]) for data in ([labelled], [labelled, five]))
    assert moved(held) < 0.2 * moved(alone)


def test_from_faces_to_a_file(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ACDCConfig(width=4, stages=1, markups=("2d5", "3d68"), variant="ac")
    write_weights(root / "w.safetensors", config, licence="none")
    write_refinement(root / "w.safetensors", {"made": faces(MIN_FACES)}, root / "out.safetensors", half=True)
    assert f"{MIN_FACES} faces" in capsys.readouterr().out
    written = load_weights(root / "out.safetensors")
    assert written.refinement is not None and written.card == {"licence": "none"}
    width = 2 * 73  # and no more components than that
    assert {m: v.shape for m, v in written.refinement.numbers.items()} == {"3d68": (1 + width + 78, 136)}
    assert written.refinement.basis.shape == (width, width)
    with pytest.raises(InputError, match=f"from {MIN_FACES} faces at least, here are {MIN_FACES - 1}"):
        write_refinement(root / "w.safetensors", {"made": faces(MIN_FACES - 1)}, root / "no.safetensors")


CONFIG = ACDCConfig(width=4, stages=1, markups=("2d68", "2d5"), variant="ac")
SETTINGS = """
databases:
  - {name: mtfl, split: train, shift: [-1.0, 0.0]}
phases: [{updates: 1, resolution: 32, batch: 2}]
network: {width: 4, stages: 1, markups: [2d68, 2d5], variant: ac}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    find_by_hand(monkeypatch, tmp_path / "cache")
    write_weights(tmp_path / "w.safetensors", CONFIG, resolution="32")
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    return write_faces(tmp_path, 24)


def fit(root: Path, *more: str) -> int:
    where = ["--config", str(root / "settings.yaml"), "--data-root", str(root), "-o", str(root / "out.safetensors")]
    return refinement_fit.main([str(root / "w.safetensors"), *where, *more])


def test_what_cannot_be_fitted_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(root) == 2
    assert "no database of the settings labels more than five points" in capsys.readouterr().err
    assert fit(root, "--limit", "0") == 2
    assert "--limit must be at least 1" in capsys.readouterr().err
    assert not (root / "out.safetensors").exists()


def test_parts_of_a_database_are_all_seen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources of one name, each with an augmentation of its own."""
    (root / "settings.yaml").write_text(
        SETTINGS.replace("split: train,", 'split: "train[:10]",').replace(
            "phases", '  - {name: mtfl, split: "train[10:]", augment: {shift: 0.3}}\nphases'
        )
    )
    found: dict[str, Labelled] = {}
    monkeypatch.setattr(refinement_fit, "write_refinement", lambda path, data, out, half: found.update(data))
    assert fit(root) == 0
    labels = [found[f"mtfl/{split}"].labels["2d5"].mean(1) for split in ("train[:10]", "train[10:]")]
    assert [len(points) for points in labels] == [10, 14]
    assert labels[1][1::2].std(0).mean() > 2 * labels[0][1::2].std(0).mean()  # every second one is augmented


def test_a_teacher_s_points_are_not_followed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its labels may be missing: then the database has only people's five points."""
    text = SETTINGS.replace("train,", "train, taught: somebody,")
    assert "taught" in text
    (root / "settings.yaml").write_text(text)
    assert fit(root) == 2
    assert "no database of the settings labels more than five points" in capsys.readouterr().err


def test_labels_are_those_of_training(root: Path) -> None:
    """Moved and left out as the settings say; every second face as it is."""
    from acdc_fast.training.observations import observe_source
    from acdc_fast.training.settings import read_settings

    settings = read_settings(root / "settings.yaml")
    mtfl = settings.databases[0]
    points, labels = observe_source(root / "w.safetensors", mtfl, root, 24, settings.augment)
    _, unmoved = observe_source(root / "w.safetensors", replace(mtfl, shift=(0.0, 0.0)), root, 24, settings.augment)
    assert set(points) == {"2d5", "2d68"} and set(labels) == {"2d5"}
    assert points["2d68"].shape == (24, 68, 2)
    gap = labels["2d5"] - unmoved["2d5"]
    assert (gap[::2, :, 0] < 0).all() and np.ptp(gap[::2, :, 1]) == pytest.approx(0, abs=1e-6)
    off = replace(mtfl, markups={"2d5": 0.0})
    assert observe_source(root / "w.safetensors", off, root, 6, settings.augment)[1] == {}
