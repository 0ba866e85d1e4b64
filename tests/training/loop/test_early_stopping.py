"""Early stopping, and what a run shows of itself: pace, time left, faces, a card."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.patience import PATIENCE
from helpers.small_training import ALONE, command, environment
from PIL import Image

from acdc_fast.bundled import bundled_path
from acdc_fast.errors import InputError
from acdc_fast.training.loop.card import validations
from acdc_fast.training.loop.checkpoint import NAME, load_checkpoint
from acdc_fast.training.loop.progress import Pace, duration
from acdc_fast.training.loop.run import Run
from acdc_fast.training.loop.train import train
from acdc_fast.training.settings import Settings
from acdc_fast.weights import load_weights


def test_early_stopping_keeps_the_best_weights(root: Path, small: Settings, tmp_path: Path) -> None:
    """A rate that only does harm: no validation is better than the first, before any update."""
    from acdc_fast.training.loop import early

    wild = replace(small, optimiser=replace(small.optimiser, rate=1.0, muon_rate=None, ema=None), patience=2)
    wild = replace(wild, validate_every=1)
    assert train(wild, root, tmp_path / "a", device="cpu") == 0
    steps = [step for step, _ in validations(tmp_path / "a")]
    errors = [values["mtfl/2d5/stage2"] for _, values in validations(tmp_path / "a")]
    found = load_weights(tmp_path / "a" / "weights.safetensors")
    best = int(found.card["updates"])
    assert errors[best] == min(errors) and steps == list(range(best + 3)) and best + 2 < 8
    network = Run(wild, ALONE).network if best == 0 else None
    assert network is None or torch.equal(
        network.state_dict()["unets.1.up1.0.weight"], torch.from_numpy(found.arrays["unets.1.up1.0.weight"])
    )
    card = (tmp_path / "a" / "card.md").read_text()
    assert f"| after {best} updates (these weights) |" in card and f"after {best + 2} updates" in card
    assert f"{errors[best]:.2f}" in card and f"{errors[-1]:.2f}" in card
    # The same command again finds nothing to do, and the checkpoint knows it.
    assert train(wild, root, tmp_path / "a", resume=True, device="cpu") == 0
    assert [step for step, _ in validations(tmp_path / "a")] == steps
    assert load_weights(tmp_path / "a" / "weights.safetensors").card["updates"] == str(best)
    assert early.Best(1.0, 3, 2).enough(2) and not early.Best(1.0, 3, 2).enough(None)


def test_early_stopping_goes_on_as_if_never_cut_off(root: Path, small: Settings, tmp_path: Path) -> None:
    settings = replace(small, patience=3, validate_every=1)
    assert train(settings, root, tmp_path / "whole", device="cpu") == 0
    assert train(settings, root, tmp_path / "a", until=3, device="cpu") == 0
    kept = load_checkpoint(tmp_path / "a" / NAME)["best"]
    assert train(settings, root, tmp_path / "a", resume=True, device="cpu") == 0
    assert validations(tmp_path / "a") == validations(tmp_path / "whole")
    assert kept["step"] <= 3 and kept["error"] < 100
    one, other = (load_weights(tmp_path / name / "weights.safetensors") for name in ("a", "whole"))
    assert one.card["updates"] == other.card["updates"]
    assert all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)


def test_patience_needs_faces_that_can_be_measured(root: Path, small: Settings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="patience needs validation"):
        replace(small, patience=1, validation=())
    with pytest.raises(ValueError, match="patience must lie in 1 "):
        replace(small, patience=0)
    strange = replace(small, patience=1, network=replace(small.network, markups=("2d68",)))
    with pytest.raises(InputError, match="patience: no face of the validation has labels"):
        train(strange, root, tmp_path / "a", device="cpu")


def test_a_run_shows_faces_its_pace_and_a_card(root: Path, tmp_path: Path) -> None:
    """Started from weights by name: whose they were and their terms stand in the card."""
    settings = (root / "small.yaml").read_text().replace("card: {licence: none}", "")
    settings = settings.replace(
        "width: 4, stages: 2, variant: ac, markups: [2d5]", "width: 16, markups: [2d98, 2d5, 3d68]"
    )
    (root / "tuned.yaml").write_text(
        settings.replace("updates: 4", "updates: 1").replace("validate_every: 4", "validate_every: 2")
    )
    told = subprocess.run(
        [*command(root, tmp_path / "a", "--init", "acdc-w16-fast"), "--config", str(root / "tuned.yaml")],
        capture_output=True, text=True, env=environment(), timeout=PATIENCE,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    lines = told.stderr.splitlines()
    assert any(re.fullmatch(r"update 2 of 2, \S+ a second, done; loss mtfl \d\.\d{4}", line) for line in lines), lines
    assert lines[-1] == f"{tmp_path / 'a' / 'card.md'}: their card"
    pictures = sorted(p.name for p in (tmp_path / "a" / "pictures").iterdir())
    assert pictures == ["mtfl-train-000002.png"]
    shown = np.asarray(Image.open(tmp_path / "a" / "pictures" / pictures[0]))
    assert shown.shape == (2 * 2 * 40, 3 * 2 * 40, 3) and shown.std() > 10
    found = load_weights(tmp_path / "a" / "weights.safetensors")
    shipped = load_weights(bundled_path("acdc-w16-fast"))
    assert found.card["start"] == "acdc-w16-fast" and found.card["licence"] == shipped.card["licence"]
    card = (tmp_path / "a" / "card.md").read_text()
    for words in ("| started from | acdc-w16-fast |", "2d5 (5 points)", "| training | mtfl/train | 12 | 0 |",
                  "| validation | mtfl/train[:3] | 3 | 0 |", shipped.card["licence"][:40], "| mtfl/2d5 |"):  # fmt: skip
        assert words in card, card


def test_the_time_that_is_left() -> None:
    pace = Pace(10, 110, every=0.0)
    pace.before = (10, time.monotonic() - 20)
    line = pace.line(20, {"csv": 0.01234})
    assert line is not None and re.fullmatch(r"update 20 of 110, 0\.5 a second, 3 min left; loss csv 0\.0123", line)
    pace.every = 1000.0
    assert pace.line(30, {}) is None and pace.line(110, {"csv": 1.0}) is not None
    assert [duration(s) for s in (40, 89, 95, 700, 7500)] == ["40 s", "89 s", "2 min", "12 min", "2 h 05 min"]
