"""``acdc-fast train``: trains AC-DC from a YAML file of settings.

A batch depends on the seed and the update's number alone, so a run that is killed and resumed from its last checkpoint
repeats the same updates bit for bit (on one device and the same number of processes).
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from acdc_fast.errors import InputError
from acdc_fast.network import ACDC
from acdc_fast.weights import Weights, load_weights, save_weights

from .averaging import Average
from .batches import Batches, open_source
from .captured import Captured, Told
from .checkpoint import NAME, load_checkpoint, random_states, restore_random_states, save_checkpoint
from .device_batches import DeviceBatches
from .distributed import World, join, spread
from .growing import grow
from .losses import Targets, cascade_loss
from .optimisers import Optimisers
from .progress import Journal, Meters, contact_sheet
from .schedule import learning_rate, phase_at
from .settings import Settings, read_settings
from .validation import validate


class Run:
    """A training run: its network, what surrounds it, and the number of updates done."""

    def __init__(self, settings: Settings, world: World) -> None:
        self.settings, self.world = settings, world
        torch.manual_seed(settings.seed)
        self.network = ACDC(settings.network).to(world.device)
        if settings.channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        ema = settings.optimiser.ema
        self.optimiser = Optimisers(self.network, settings.optimiser)
        self.average = Average(self.network, ema) if ema else None
        self.parallel = self.network if settings.local else spread(self.network, world)
        self.meters, self.step = Meters(), 0
        # An update is some thousands of short kernels, which a graph starts at once. DDP has hooks of its own.
        alone = self.parallel is self.network
        self.captured = Captured(self._learn) if settings.on_device and world.device.type == "cuda" and alone else None

    @property
    def best_network(self) -> ACDC:
        """The averaged network where there is one."""
        network = self.average.network if self.average else self.network
        assert isinstance(network, ACDC)
        return network

    def _learn(self, image: Tensor, targets: Targets) -> Told:
        """Forward, backward and a step of the optimiser; the loss, its parts and the norm of the gradient."""
        settings = self.settings
        # A recorded update must cast the weights anew each time.
        with torch.autocast(
            self.world.device.type, torch.bfloat16, enabled=settings.bf16, cache_enabled=self.captured is None
        ):
            prediction = self.parallel(image, all_stages=True)
        loss, parts = cascade_loss(
            prediction, targets, settings.loss.pose, settings.loss.markups, settings.loss.stages, settings.loss.spread
        )
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = clip_grad_norm_(self.network.parameters(), settings.optimiser.clip or float("inf"))
        if self.captured is None and not torch.isfinite(norm):
            raise self._unsound(f"update {self.step}: the gradient is not finite (loss {loss.item():.4g})")
        self.optimiser.step()
        return {"loss": loss.detach(), "gradient": norm, **parts}

    def _unsound(self, what: str) -> InputError:
        return InputError(
            f"{what}; lower optimiser.rate or set optimiser.clip, and resume from the last checkpoint"
        )

    def update(self, image: Tensor, targets: Targets, source: str) -> None:
        """One update on this process's share of a batch."""
        settings, optimiser = self.settings, self.settings.optimiser
        self.parallel.train()
        self.optimiser.schedule(learning_rate(self.step, settings.updates, 1.0, optimiser.power, optimiser.warmup))
        told = self._learn(image, targets) if self.captured is None else self.captured(image, targets, source)
        self.step += 1
        if self.average:
            self.average.update(self.network, self.step)
        if settings.local and (self.step % settings.local == 0 or self.step == settings.updates):
            self.world.unite([self.network, *([self.average.network] if self.average else [])])
        self.meters.add({f"{source}/{name}": value for name, value in told.items()})

    def check(self) -> None:
        """Raises `InputError` where recorded updates, which cannot look at what they do, have gone astray."""
        if self.captured and not all(bool(torch.isfinite(p).all()) for p in self.network.parameters()):
            raise self._unsound(f"a weight is not finite after update {self.step}")

    def report(self) -> dict[str, float]:
        """Means since the last report over all processes, and the rate of the next update."""
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
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises `InputError` where the checkpoint is of another architecture; the schedule may differ."""
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
        restore_random_states(state["random"])

    def start_from(self, path: Path) -> None:
        """Weights of a file made by ``acdc-fast train``; what does not fit (other markups) starts anew and is named.

        Stages that the file lacks start as its last one (`growing`).
        """
        start = load_weights(path)
        arrays = grow(start.arrays, start.config, self.settings.network)
        found = {name: torch.from_numpy(value) for name, value in arrays.items()}
        known = self.network.state_dict()
        fits = {n: v for n, v in found.items() if n in known and known[n].shape == v.shape}
        self.network.load_state_dict(fits, strict=False)
        if self.average:
            self.average.network.load_state_dict(fits, strict=False)
        anew = sorted(n for n, v in known.items() if n not in fits and v.is_floating_point())
        if self.world.leads and anew:
            print(f"{path}: not there or of another shape, so started anew: {', '.join(anew)}", file=sys.stderr)


class StopRequests:
    """SIGINT and SIGTERM received within the block, so that the loop can finish its update, save and end."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: list[int] = []

    def __enter__(self) -> StopRequests:
        self.before = {number: signal.getsignal(number) for number in self.SIGNALS}
        self.listen()
        return self

    def listen(self) -> None:
        """To be called now and then: a compiler that runs in this process (Triton's LLVM, seen) puts handlers of its
        own in the place of ours."""
        for number in self.SIGNALS:
            signal.signal(number, lambda received, _: self.received.append(received))

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def train(
    settings: Settings, data_root: Path, out: Path, *, resume: bool = False, init: Path | None = None,
    until: int | None = None, device: str = "auto", skip_broken: bool = False,
) -> int:  # fmt: skip
    """Trains to the last update of the settings, to ``until``, or to a stop signal; returns the exit code.

    Raises `InputError` for what the person who started the run can mend.
    """
    if not data_root.is_dir():
        raise InputError(f"--data-root {data_root}: no such folder")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    try:
        with join(device) as world:  # left after the network is gone, because DDP waits for its group when it goes
            return _train(settings, data_root, out, resume, init, until, skip_broken, world)
    except OSError as error:  # a full disk, a folder that cannot be written
        told = f"{error.filename or out}: {error.strerror or error}"
        raise InputError(f"{told}; --resume goes on from the last checkpoint") from error


def _train(
    settings: Settings, data_root: Path, out: Path, resume: bool, init: Path | None, until: int | None,
    skip_broken: bool, world: World,
) -> int:  # fmt: skip
    sources = [open_source(s, data_root, skip_broken) for s in settings.databases]
    held_out = [open_source(s, data_root, skip_broken) for s in settings.validation]
    run = Run(settings, world)
    if init:
        run.start_from(init)
    if resume:
        run.restore(load_checkpoint(out / NAME))
    elif (out / NAME).exists():
        raise InputError(f"{out} holds a run already: add --resume to go on with it, or choose another --out")
    _make_folder(out)
    batches = (DeviceBatches if settings.on_device else Batches)(settings, sources, world)
    with StopRequests() as stops:
        stopped = _loop(run, batches, held_out, out, min(until or settings.updates, settings.updates), stops)
    if stopped:
        if world.leads:
            print(f"stopped after update {run.step}; --resume goes on from there", file=sys.stderr)
        return 128 + (stops.received[0] if stops.received else signal.SIGTERM)
    if world.leads:
        write_weights(run, out / "weights.safetensors")
        print(f"{out / 'weights.safetensors'}: trained weights after {run.step} updates", file=sys.stderr)
    return 0


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be made: {error.strerror}") from error


def _loop(run: Run, batches: Batches, held_out: list[Any], out: Path, last: int, stops: StopRequests) -> bool:
    """Updates up to ``last``; whether it stopped before, because it was asked to."""
    settings, world = run.settings, run.world
    journal = Journal(out, run.step) if world.leads else None
    hidden = None if world.leads else True  # None: shown on a terminal alone
    bar = tqdm(total=last, initial=run.step, unit="update", disable=hidden, dynamic_ncols=True)
    saved, stopping = time.monotonic(), False
    for batch in batches.loader(run.step, last):
        image, targets = batch.to(world.device, settings.channels_last)
        run.update(image, targets, batch.source)
        bar.update()
        if run.step % settings.log_every == 0:
            stops.listen()
            means = run.report()
            if journal:
                journal.write(run.step, means)
                bar.set_postfix({k.split("/")[0]: f"{v:.4f}" for k, v in means.items() if k.endswith("/loss")})
        if journal and (run.step % settings.validate_every == 0 or run.step == last):
            resolution = phase_at(run.step - 1, settings.phases).resolution
            for database in held_out:
                values, sheet = validate(run.best_network, database, resolution, world.device)
                journal.write(run.step, {f"validation/{k}": v for k, v in values.items()})
                journal.picture(run.step, database.name, contact_sheet(*sheet))
        stopping = world.any(bool(stops.received))
        due = time.monotonic() - saved > 60 * settings.checkpoint_minutes
        if world.leads and (due or stopping or run.step == last):
            run.check()
            save_checkpoint(out / NAME, run.state())
            saved = time.monotonic()
        stopping = stopping and run.step < last
        if stopping:
            break
    bar.close()
    if journal:
        journal.close()
    return stopping


def write_weights(run: Run, path: Path) -> None:
    """The (averaged) weights with the architecture and how they were made."""
    arrays = {n: v.cpu().numpy() for n, v in run.best_network.state_dict().items() if v.is_floating_point()}
    settings = run.settings
    card = {"resolution": str(phase_at(run.step - 1, settings.phases).resolution), "updates": str(run.step)}
    card |= {"settings": json.dumps(settings.to_dict()), **settings.card}
    save_weights(path, Weights(settings.network, arrays, card=card))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="YAML", help="settings (configs/*.yaml)")
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR", help="folder that holds the databases")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for checkpoints and logs")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--init", type=Path, metavar="WEIGHTS", help="start from these weights")
    parser.add_argument("--until", type=int, metavar="N", help="end after update N as if it were the last")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--skip-broken", action="store_true", help="leave broken faces out instead of stopping")
    parser.epilog = (
        "example: acdc-fast train --config configs/w16/1-stage.yaml --data-root data --out runs/1; "
        "on 8 GPUs: torchrun --nproc-per-node 8 -m acdc_fast.training.train --config configs/paper.yaml …"
    )


def run(args: argparse.Namespace) -> int:
    return train(
        read_settings(args.config), args.data_root, args.out, resume=args.resume, init=args.init, until=args.until,
        device=args.device, skip_broken=args.skip_broken,
    )  # fmt: skip


def main() -> int:
    """Entry for torchrun."""
    parser = argparse.ArgumentParser(prog="acdc-fast train", description=__doc__)
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except InputError as error:
        print(f"acdc-fast train: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
