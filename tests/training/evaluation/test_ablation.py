"""The ablation runs every variant and repeats nothing. Its table has the results of the runs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.faces import SETTINGS, write_faces

from acdc_fast.config import ACDCConfig
from acdc_fast.training.evaluation import ablation
from acdc_fast.training.settings import Settings, read_settings
from acdc_fast.weights import load_weights


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "small.yaml"
    path.write_text(SETTINGS)
    small = read_settings(path)
    markups = ("2d5", "3d68")
    return replace(small, network=ACDCConfig(width=4, stages=2, markups=markups), phases=small.phases[:1], log_every=4)


def test_a_run_is_made_once_and_is_of_its_variant(settings: Settings, tmp_path: Path) -> None:
    write_faces(tmp_path)
    runs, made = tmp_path / "runs", {}
    chain = [replace(settings, network=replace(settings.network, stages=1)), settings]
    for variant in ("ac", "ac+pose", "ac-dc"):
        made[variant] = ablation.one_run(chain, variant, 7, tmp_path, runs, ["mtfl/train"], 6)
        kept = load_weights(runs / f"{variant}-7-1" / "weights.safetensors")
        assert (kept.config.variant, kept.config.stages) == (variant, 2)
        assert json.loads(kept.card["settings"])["seed"] == 7
        assert made[variant] is not None and set(made[variant]) == {"mtfl/train 2d5"}
    assert sorted(p.name for p in runs.iterdir() if p.is_dir()) == [
        "ac+pose-7-0", "ac+pose-7-1", "ac-7-0", "ac-7-1", "ac-dc-7-1",
    ]  # fmt: skip
    history = runs / "ac-7-1" / "history.jsonl"
    before = history.stat().st_mtime_ns
    assert ablation.one_run(chain, "ac", 7, tmp_path, runs, ["mtfl/train"], 6) == made["ac"]
    assert history.stat().st_mtime_ns == before
    assert made["ac-dc"] != made["ac+pose"]  # the excitation makes them two networks


def test_the_table_has_mean_and_deviation_and_blanks(settings: Settings) -> None:
    found = {
        "ac": [{"a": 1.0}, {"a": 2.0}, {"a": 6.0}],
        "ac+pose": [{"a": 2.0, "pose °": 5.0}, {"a": 2.0, "pose °": 7.0}, {"a": 2.0, "pose °": 9.0}],
    }
    found["ac-dc"] = found["ac+pose"]
    text = ablation.summary(found, [settings])
    assert "width 4, stages 2: 4 updates of 4 faces at 32²" in text
    rows = {line.split("  ")[0]: re.findall(r"\d+\.\d+|–", line) for line in text.splitlines() if " of 3" in line}
    assert rows["AC, mean of 3"] == ["3.00", "–"]
    assert rows["AC, deviation of 3"] == ["2.65", "–"]
    assert rows["AC+Pose, mean of 3"] == rows["AC-DC, mean of 3"] == ["2.00", "7.00"]
    assert rows["AC+Pose, deviation of 3"] == ["0.00", "2.00"]
