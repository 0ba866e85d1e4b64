"""A training run: the network, its optimiser and average, where they start, and what a checkpoint keeps."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from acdc_fast.config import ACDCConfig
from acdc_fast.errors import InputError
from acdc_fast.network import ACDC, UNet
from acdc_fast.weights import Weights, load_weights, save_weights

from ..distributed import World, data_parallel
from ..schedule import phase_at
from ..settings import Settings
from .averaging import Average
from .checkpoint import random_states, restore_random_states
from .early import Best
from .growing import grow
from .optimisers import Optimisers
from .progress import Meters


class Run:
    """A training run: its network, optimiser, average and reports, and the number of updates done."""

    def __init__(self, settings: Settings, world: World) -> None:
        self.settings, self.world = settings, world
        torch.manual_seed(settings.seed)
        self.network = ACDC(settings.network).to(world.device)
        if settings.channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        ema = settings.optimiser.ema
        self.optimiser = Optimisers(self.network, settings.optimiser)
        self.average = Average(self.network, ema) if ema else None
        hold_stages(self.network, settings.held)
        self.parallel = self.network if settings.local else data_parallel(self.network, world)
        self.meters, self.step, self.best = Meters(), 0, Best()
        self.start: dict[str, str] = {}  # what the card says of the weights that the run starts from

    @property
    def best_network(self) -> ACDC:
        """The averaged network if there is one, or else the network."""
        network = self.average.network if self.average else self.network
        assert isinstance(network, ACDC)
        return network

    def report(self) -> dict[str, float]:
        """Means since the last report, over all processes."""
        names, means = self.meters.means()
        self.meters = Meters()
        return dict(zip(names, self.world.mean(means).tolist(), strict=True))

    def state(self) -> dict[str, Any]:
        return {
            "settings": self.settings.to_dict(),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict() if self.average else None,
            "optimiser": self.optimiser.state_dict(),
            "meters": self.meters.state(),
            "random": random_states(),
            "best": self.best.state(),
            "start": self.start,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises `InputError` if the checkpoint is of another architecture. The schedule may differ."""
        ours, theirs = self.settings.to_dict()["network"], state["settings"]["network"]
        for name, value in ours.items():
            if theirs.get(name) != value:
                raise InputError(f"the checkpoint has network.{name} = {theirs.get(name)!r}, the settings {value!r}")
        self.network.load_state_dict(state["network"])
        if self.average:
            self.average.network.load_state_dict(state["average"] or state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        device = self.world.device
        self.meters = Meters({n: v.to(device) for n, v in state["meters"]["sums"].items()}, state["meters"]["counts"])
        self.step = state["step"]
        self.best, self.start = Best(**state.get("best", {})), state.get("start", {})  # older ones have none
        restore_random_states(state["random"])

    def start_from(self, path: Path) -> None:
        """Starts from a weights file. Arrays that do not fit (other markups) start at random and are named on stderr.

        Stages that the file lacks start as copies of its last one (`growing`). Raises `InputError` if no U-Net fits, or
        one that the settings hold or whose batch norm they keep.
        """
        start = load_weights(path)
        self.start = {"start": path.stem} | {k: v for k, v in start.card.items() if k == "licence"}
        arrays = grow(start.arrays, start.config, self.settings.network)
        found = {name: torch.from_numpy(value) for name, value in arrays.items()}
        known = self.network.state_dict()
        fits = {n: v for n, v in found.items() if n in known and known[n].shape == v.shape}
        anew = sorted(n for n, v in known.items() if n not in fits and v.is_floating_point())
        self._check_start(path, start.config, fits, anew)
        self.network.load_state_dict(fits, strict=False)
        if self.average:
            self.average.network.load_state_dict(fits, strict=False)
        if self.world.leads and anew:
            print(f"{path} lacks these layers, so they start at random: {', '.join(anew)}", file=sys.stderr)

    def _check_start(self, path: Path, theirs: ACDCConfig, fits: Collection[str], anew: Sequence[str]) -> None:
        kept = tuple(f"unets.{stage}." for stage in range(self.settings.held))
        wrong = [n for n in anew if n.startswith(kept) or (self.settings.fixed_norm and "running_" in n)]
        if wrong or not any(n.startswith("unets.") for n in fits):
            sizes = [f"width {c.width}, {c.stages} stages" for c in (theirs, self.settings.network)]
            why = f"held or fixed_norm keeps {wrong[0]}, which it lacks" if wrong else "none of its U-Nets fits"
            raise InputError(f"{path} ({sizes[0]}) cannot start a network of {sizes[1]}: {why}")


def hold_stages(network: ACDC, count: int) -> None:
    """The U-Nets of the first ``count`` stages keep their weights, and no gradient goes through them."""
    for unet in list(network.unets)[:count]:
        assert isinstance(unet, UNet)
        unet.requires_grad_(False)
        unet.after_stem = torch.no_grad()(unet.after_stem)  # type: ignore[method-assign]


def write_weights(run: Run, path: Path) -> None:
    """Writes the (averaged) weights with the architecture, the settings and the number of updates."""
    arrays = {n: v.cpu().numpy() for n, v in run.best_network.state_dict().items() if v.is_floating_point()}
    settings = run.settings
    card = {"resolution": str(phase_at(max(run.step - 1, 0), settings.phases).resolution), "updates": str(run.step)}
    card |= {**run.start, "settings": json.dumps(settings.to_dict()), **settings.card}
    save_weights(path, Weights(settings.network, arrays, card=card))
