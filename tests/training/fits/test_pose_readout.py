"""The pose's polynomial, fitted to faces whose pose follows from the network's output by a known law."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.faces import write_weights

from acdc_fast import ACDCConfig
from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS
from acdc_fast.readout.head_pose import corrected, terms
from acdc_fast.training.data.sample import Annotation
from acdc_fast.training.fits.pose_readout import MIN_FACES, fit_readout, mirrored, stretched, write_readout
from acdc_fast.training.observations import Observations
from acdc_fast.weights import load_weights

CONFIG = ACDCConfig(width=4, stages=1, variant="ac+pose", markups=("3d68",))


def faces(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ω that falls short of large angles, landmarks, and the pose; one label in ten is wild."""
    rng = np.random.default_rng(seed)
    omega = rng.uniform(-60, 60, (count, 3))
    truth = omega + 0.004 * omega * omega[:, [1, 0, 0]] + [1.0, -2.0, 0.5]
    wild = rng.random(count) < 0.1
    truth[wild] += rng.normal(0, 40, (wild.sum(), 3))
    return omega, rng.normal(size=(count, 68, 2)) * [1, 1.3], truth


def test_the_law_is_found_among_wild_labels() -> None:
    omega, points, truth = faces(4000)
    readout = fit_readout(omega, points, truth, np.ones(len(omega)))
    expected = omega + 0.004 * omega * omega[:, [1, 0, 0]] + [1.0, -2.0, 0.5]
    assert np.abs(corrected(omega, points, readout) - expected).mean() < 0.25
    assert np.abs(omega - expected).mean() > 2


def test_weights_count_faces() -> None:
    omega, points, truth = faces(1000)
    twice = [np.concatenate([v, v[:500]]) for v in (omega, points, truth)]
    heavy = np.where(np.arange(1000) < 500, 2.0, 1.0)
    again = fit_readout(*twice, np.ones(1500))  # type: ignore[arg-type]
    once = fit_readout(omega, points, truth, heavy)
    assert once.mean == pytest.approx(again.mean, abs=1e-9)
    # a principal direction's sign is chance, what the polynomial says is not
    assert corrected(omega, points, once) == pytest.approx(corrected(omega, points, again), abs=1e-3)


def test_inputs_have_unit_variance_on_what_it_was_fitted_to() -> None:
    omega, points, truth = faces(2000)
    points[:, :, 0] += points[:, :1, 0]  # something that the points have in common
    readout = fit_readout(omega, points, truth, np.ones(2000))
    coordinates = terms(omega, points, readout.mean, readout.basis)[:, 4:18]
    assert coordinates.std(0) == pytest.approx(np.ones(14), abs=0.05)  # held at 3
    assert np.abs(coordinates.mean(0)).max() < 0.02


def test_the_written_file_says_what_was_fitted(tmp_path: Path) -> None:
    """The fit is the same for both sides of the head, although all its faces look one way."""
    write_weights(tmp_path / "a.safetensors", CONFIG, licence="none")
    seen = observed(4 * MIN_FACES)
    omega, points, truth = seen.poses[-1], seen.points[-1]["3d68"], np.stack([a.pose for a in seen.annotations])
    write_readout(tmp_path / "a.safetensors", {"made": seen}, tmp_path / "b.safetensors")
    readout = load_weights(tmp_path / "b.safetensors").pose
    assert readout is not None
    order = MARKUPS["3d68"].mirror
    there, back = corrected(omega, points, readout), corrected(*mirrored(omega, points, truth, order)[:2], readout)
    assert np.abs(there - back * [-1, 1, -1]).mean() < 0.1
    truth = stretched(truth)
    twice = [np.concatenate(v) for v in zip((omega, points, truth), mirrored(omega, points, truth, order), strict=True)]
    fitted = fit_readout(*(v[np.arange(len(v)) % len(omega) > 0] for v in twice), np.full(2 * len(omega) - 2, 0.5))
    assert there == pytest.approx(corrected(omega, points, fitted), abs=0.05)


def test_large_yaws_alone_are_stretched() -> None:
    poses = [[60, 80, -80], [-59, 0, 0], [70, 10, -10], [-90, 10, 75]]
    wanted = [[60, 80, -80], [-59, 0, 0], [71.5, 10, -10], [-94.5, 10, 75]]
    assert stretched(np.array(poses, float)) == pytest.approx(np.array(wanted, float))


def test_yaws_of_faces_turned_far_away_are_not_too_small(tmp_path: Path) -> None:
    """Ω tells the yaw with an error of 8°, as of a face of which little is in sight; no face is beyond 90°."""
    write_weights(tmp_path / "a.safetensors", CONFIG, licence="none")
    rng = np.random.default_rng(1)
    truth = rng.uniform(-90, 90, (6000, 3)) * [1, 0.2, 0.2]
    omega = truth + rng.normal(0, 8, truth.shape) * [1, 0.1, 0.1]
    points = rng.normal(size=(6000, 68, 2))
    labels = [Annotation(source="made", name=str(i), landmarks={}, pose=t) for i, t in enumerate(truth)]
    ones = np.ones(6000)
    seen = Observations(labels, [{"3d68": points}], [omega], {}, ones, ones[None], ones)
    write_readout(tmp_path / "a.safetensors", {"made": seen}, tmp_path / "b.safetensors")
    readout = load_weights(tmp_path / "b.safetensors").pose
    assert readout is not None
    far = np.abs(truth[:, 0]) > 75

    def outward(found: np.ndarray) -> float:
        return float((np.sign(truth[far, 0]) * (found - truth)[far, 0]).mean())

    plain = fit_readout(omega, points, truth, np.ones(6000))
    assert outward(corrected(omega, points, plain)) < -1
    assert abs(outward(corrected(omega, points, readout))) < 0.6 * abs(outward(corrected(omega, points, plain)))


def observed(count: int) -> Observations:
    omega, points, truth = faces(count)
    labels = [Annotation(source="made", name=str(i), landmarks={}, pose=t) for i, t in enumerate(truth)]
    side = np.ones(count)
    side[0] = np.nan  # missed
    return Observations(labels, [{"3d68": points}], [omega], {}, side, np.ones((1, count)), side)


def test_it_is_written_and_too_few_faces_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_weights(tmp_path / "a.safetensors", CONFIG, licence="none")
    write_readout(tmp_path / "a.safetensors", {"made": observed(MIN_FACES + 1)}, tmp_path / "b.safetensors")
    assert f"{MIN_FACES} faces" in capsys.readouterr().out  # the missed one does not count
    written = load_weights(tmp_path / "b.safetensors")
    assert written.pose is not None and written.pose.numbers.shape == (171, 3) and written.card == {"licence": "none"}
    with pytest.raises(InputError, match=f"{MIN_FACES - 1} faces of known pose, {MIN_FACES} are needed"):
        write_readout(tmp_path / "a.safetensors", {"made": observed(MIN_FACES)}, tmp_path / "c.safetensors")


def test_a_large_ridge_stays_near_the_dense_layer() -> None:
    omega, points, truth = faces(1000)
    moved = [np.abs(corrected(omega, points, fit_readout(omega, points, truth, np.ones(1000), r)) - omega).mean()
             for r in (1.0, 1e3, 1e7)]  # fmt: skip
    assert moved[0] > 2 > moved[1] > moved[2]  # the constant is penalised as well
    assert moved[2] < 0.05
