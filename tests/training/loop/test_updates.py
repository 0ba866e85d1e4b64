"""What an update takes: the rate of its place in the run, weights and average of the start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.faces import write_weights
from helpers.small_training import ALONE

from acdc_fast.errors import InputError
from acdc_fast.training.loop.optimisers import Optimisers
from acdc_fast.training.loop.run import Run
from acdc_fast.training.loop.train import train
from acdc_fast.training.loop.update import Update
from acdc_fast.training.sampling.batches import Batches, open_source
from acdc_fast.training.settings import Settings
from acdc_fast.weights import load_weights


def test_rates_of_all_updates_and_of_a_resumed_run(
    root: Path, small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two updates of warm-up within the annealing, which reaches 0 after the eighth; resumed at the sixth."""
    used: list[tuple[float, float]] = []
    step = Optimisers.step

    def noted(optimisers: Optimisers) -> None:
        used.append((float(optimisers.adam.param_groups[0]["lr"]), float(optimisers.rates[1])))
        step(optimisers)

    monkeypatch.setattr(Optimisers, "step", noted)
    settings = replace(small, optimiser=replace(small.optimiser, rate=0.01, muon_rate=0.03))
    assert train(settings, root, tmp_path / "run", until=5, device="cpu") == 0
    assert train(settings, root, tmp_path / "run", resume=True, device="cpu") == 0
    scales = [0.5, *((left / 8) ** 0.9 for left in range(7, 0, -1))]
    assert used == [(pytest.approx(0.01 * s), pytest.approx(0.03 * s)) for s in scales]


def test_weights_that_cannot_start_it_are_refused(small: Settings, tmp_path: Path) -> None:
    """Of another width; of fewer U-Nets than are held. Fewer stages alone are grown, and other markups start anew."""
    path = tmp_path / "w.safetensors"
    network = small.network
    write_weights(path, replace(network, width=3 * network.width, stages=1))
    with pytest.raises(InputError, match=r"w\.safetensors \(width 12, 1 stages\) cannot start .*: none of its U-Nets"):
        Run(small, ALONE).start_from(path)
    write_weights(path, replace(network, markups=("2d68",)))
    Run(replace(small, held=1), ALONE).start_from(path)
    write_weights(path, replace(network, width=2 * network.width))
    with pytest.raises(InputError, match=r"cannot start .*: held or fixed_norm keeps unets\.0\."):
        Run(replace(small, held=1), ALONE).start_from(path)


def test_weights_and_average_start_from_a_file(root: Path, small: Settings, tmp_path: Path) -> None:
    """After the first update the average holds 2/11 of the start, and 9/11 of the new weights."""
    write_weights(tmp_path / "w.safetensors", small.network)
    start = {name: torch.from_numpy(value) for name, value in load_weights(tmp_path / "w.safetensors").arrays.items()}
    run = Run(replace(small, seed=1), ALONE)
    assert run.average is not None
    networks = [run.network, run.average.network]
    for network in networks:
        assert not torch.equal(network.state_dict()["unets.1.up1.0.weight"], start["unets.1.up1.0.weight"])
    run.start_from(tmp_path / "w.safetensors")
    for network in networks:
        assert all(torch.equal(network.state_dict()[name], value) for name, value in start.items())
    batches = Batches(small, [open_source(s, root) for s in small.databases], ALONE)
    Update(run)(*batches[0].to(ALONE.device), "mtfl")
    now, average = (network.state_dict() for network in networks)
    name = "unets.1.up1.0.weight"
    assert not torch.equal(now[name], start[name])
    for name, value in start.items():
        torch.testing.assert_close(average[name], (2 * value + 9 * now[name]) / 11)
