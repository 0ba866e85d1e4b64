"""The stage at which a face ends, on made-up errors, and the value that is written to the card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.faces import write_weights

from acdc_fast import ACDCConfig
from acdc_fast.errors import InputError
from acdc_fast.training.data.sample import Annotation
from acdc_fast.training.evaluation.report import report
from acdc_fast.training.fits.early_exit import find_enough, last_stages, stages_and_error, write_enough
from acdc_fast.training.observations import Observations
from acdc_fast.weights import load_weights

FACES = 10
TARGET = np.array([[0, 0], [10, 0], [5, 5], [1, 9], [9, 9]], np.float64)


def observations(errors: np.ndarray, mean_spreads: np.ndarray) -> Observations:
    """(stages, N) errors in eye distances → observations with these errors."""
    annotations = [Annotation(source="made", name=str(i), landmarks={"2d5": TARGET}) for i in range(errors.shape[1])]
    points = [{"2d5": TARGET + np.stack([10 * e, 0 * e], 1)[:, None]} for e in errors]
    spread, side = {"2d5": np.ones((errors.shape[1], 5))}, np.full(errors.shape[1], 20.0)
    return Observations(annotations, points, [], spread, side, mean_spreads, side)


def test_a_face_ends_at_the_first_stage_that_is_narrow_enough() -> None:
    mean_spreads = np.array([[0.3, 0.1, 0.3], [0.1, 0.3, 0.3], [0.3, 0.3, 0.3]])
    assert last_stages(mean_spreads, 0.2).tolist() == [1, 0, 2]
    assert last_stages(mean_spreads, 0.0).tolist() == [2, 2, 2]


def test_the_largest_spread_within_the_cost() -> None:
    """Half of the faces gain nothing from the second stage and have narrow maps; the others gain and have wide ones."""
    easy = np.arange(FACES) % 2 == 0
    errors = np.stack([np.where(easy, 0.05, 0.15), np.full(FACES, 0.05)])
    mean_spreads = np.stack([np.where(easy, 0.10, 0.20), np.full(FACES, 0.10)])
    seen = {"made": observations(errors, mean_spreads)}
    enough = find_enough(seen, 0.02)
    assert 0.10 <= enough < 0.20
    assert stages_and_error(seen, enough) == pytest.approx((1.5, 1.0))
    assert find_enough(seen, 10.0) == pytest.approx(0.20)
    values = report(seen["made"], enough=enough)
    assert values["auto"]["stages"] == pytest.approx(1.5)
    assert values["auto"]["nme"]["2d5"] == pytest.approx(5.0)
    assert "auto" not in report(seen["made"])
    assert stages_and_error(seen, 0.20) == pytest.approx((1.0, 2.0))


def test_nothing_is_enough_where_every_early_end_costs() -> None:
    errors = np.stack([np.full(FACES, 0.2), np.full(FACES, 0.05)])
    seen = {"made": observations(errors, np.full((2, FACES), 0.1))}
    assert stages_and_error(seen, find_enough(seen)) == pytest.approx((2.0, 1.0))


def test_what_cannot_be_asked() -> None:
    bare = observations(np.ones((2, FACES)), np.ones((2, FACES)))
    for i in range(FACES):
        bare.annotations[i] = Annotation(source="made", name=str(i), landmarks={"3d68": np.zeros((68, 2))})
    with pytest.raises(InputError, match="labels"):
        find_enough({"made": bare})
    with pytest.raises(InputError, match="one stage"):
        find_enough({"made": observations(np.ones((1, FACES)), np.ones((1, FACES)))})


def test_the_card_says_it(tmp_path: Path) -> None:
    config = ACDCConfig(width=4, stages=2, markups=("2d5",), variant="ac")
    write_weights(tmp_path / "w.safetensors", config, licence="none")
    seen = {"made": observations(torch.rand(2, FACES).numpy(), torch.rand(2, FACES).numpy())}
    enough = write_enough(tmp_path / "w.safetensors", seen, tmp_path / "e.safetensors")
    assert load_weights(tmp_path / "e.safetensors").card == {"licence": "none", "enough": f"{enough:.6g}"}
