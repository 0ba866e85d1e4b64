"""Doubt: figures of made-up observations with known results, and the covered half of a face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.faces import write_faces

from acdc_fast import ACDC, ACDCConfig
from acdc_fast.training.data.sample import Annotation
from acdc_fast.training.evaluation.uncertainty import (
    COVERAGES,
    draw_risk,
    half_hidden,
    risk,
    uncertainty,
    uncertainty_rows,
)
from acdc_fast.training.observations import Observations
from acdc_fast.training.sampling.batches import open_source
from acdc_fast.training.settings import Source

FACES = 40


def observations(spread: np.ndarray, error: np.ndarray) -> Observations:
    """Faces with eyes 10 px apart, all five points off by ``error`` eye distances; one face missed."""
    target = np.array([[0, 0], [10, 0], [5, 5], [1, 9], [9, 9]], np.float64)
    annotations = [Annotation(source="made", name=str(i), landmarks={"2d5": target}) for i in range(FACES)]
    points = target + np.stack([10 * error, np.zeros(FACES)], 1)[:, None]
    side = np.full(FACES, 20.0)
    points[3], side[3] = np.nan, np.nan
    spreads = {"2d5": np.repeat(spread[:, None], 5, 1)}
    return Observations(annotations, [{"2d5": points}], [], spreads, side, spread[None], side)


def test_doubt_in_the_order_of_the_errors() -> None:
    error = np.linspace(0.01, 0.40, FACES)
    values = uncertainty(observations(error**2, error), "2d5", {})
    found = np.delete(error, 3)
    # the five points of a face have the same error: rounding decides their order
    assert values["spearman"] == pytest.approx(1, abs=1e-3)
    assert values["spearman_faces"] == pytest.approx(1)
    assert values["risk"] == pytest.approx([100 * found[: round(c * 39)].mean() for c in COVERAGES])
    assert "ece" not in values
    row = [values["spearman"], values["spearman_faces"], None, None, None, *values["risk"]]
    assert uncertainty_rows({"2d5": values, "2d68": {}}) == {"2d5": row}


def test_doubt_without_meaning() -> None:
    rng = np.random.default_rng(0)
    error = rng.uniform(0, 0.4, FACES)
    values = uncertainty(observations(-error + 1, error), "2d5", {})
    assert values["spearman"] == pytest.approx(-1, abs=1e-3)
    assert values["risk"][-1] > values["risk"][0]
    assert uncertainty(observations(np.ones(FACES), error), "2d5", {})["spearman"] is None  # a constant says nothing


def test_an_offset_of_all_labels_is_no_error_of_the_points() -> None:
    """Points off by 0.2 ± up to 0.2 eye distances to the right, the offset being the labels' own."""
    error = np.linspace(0.0, 0.4, FACES)
    calibration = {"2d5": (5.0, 0.0, 0.0)}  # less sure the wider the map
    values = uncertainty(observations(np.abs(error - 0.2) + 0.01, error), "2d5", calibration)
    assert values["spearman_confidence_offset_removed"] > 0.99
    assert abs(values["spearman_confidence"]) < 0.2
    values = uncertainty(observations(error + 0.01, error), "2d5", calibration)
    assert values["spearman_confidence"] > 0.99
    assert abs(values["spearman_confidence_offset_removed"]) < 0.2


def test_calibration_error_counts_what_the_confidence_promises() -> None:
    error = np.full(FACES, 0.4)  # 4 px of a crop's 20: wrong everywhere
    seen = observations(np.full(FACES, 0.1), error)
    values = uncertainty(seen, "2d5", {"2d5": (0.0, 0.0, 0.0)})  # confidence ½ everywhere
    assert values["ece"] == pytest.approx(0.5)


def test_too_few_faces_say_nothing() -> None:
    seen = observations(np.ones(FACES), np.ones(FACES))
    points, side = [{"2d5": seen.points[0]["2d5"][:3]}], seen.side[:3]
    few = Observations(seen.annotations[:3], points, [], {"2d5": np.ones((3, 5))}, side, np.ones((1, 3)), side)
    assert uncertainty(few, "2d5", {})  # three found
    few.side[0] = np.nan
    assert uncertainty(few, "2d5", {}) == {}


def test_risk_keeps_at_least_one_face() -> None:
    assert risk(np.array([3.0, 1.0]), np.array([0.0, 1.0]), 0.01) == 3.0


def test_picture(tmp_path: Path) -> None:
    error = np.linspace(0.01, 0.4, FACES)
    draw_risk({"made": observations(error, error)}, tmp_path / "risk.png")
    assert (tmp_path / "risk.png").stat().st_size > 5000


def test_only_covered_points_count_as_hidden(tmp_path: Path) -> None:
    """A network that ignores its input has the same spread before and after, for covered and visible points."""
    write_faces(tmp_path)
    torch.manual_seed(0)
    network = ACDC(ACDCConfig(width=4, stages=1, markups=("2d5",), variant="ac"))
    database = open_source(Source("mtfl", "train[:2]"), tmp_path)
    seeing = half_hidden(network, database, 32)["2d5"]
    assert seeing[0] != seeing[1]
    with torch.no_grad():
        network.unets[0].stem.weight.zero_()
    blind = half_hidden(network, database, 32)["2d5"]
    assert blind[0] == pytest.approx(blind[1], rel=1e-5) and blind[2] == pytest.approx(blind[3], rel=1e-5)
    assert all(v > 0 for v in blind)
