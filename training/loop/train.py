"""``acdc-fast train``: trains AC-DC from a YAML file of settings.

A batch depends only on the seed and on the number of the update. So a run that is killed and resumed from its last
checkpoint repeats the same updates bit for bit (on one device, with the same number of processes).
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from acdc_fast.bundled import bundled
from acdc_fast.command_parser import Parser
from acdc_fast.errors import AcdcError, InputError
from acdc_fast.files import make_folder, sweep, written_beside
from acdc_fast.locks import locked
from acdc_fast.stopping import StopRequests

from ..command_errors import errors_in_one_line
from ..data import Database
from ..distributed import World, join, lost
from ..sampling.batches import Batches, open_source
from ..sampling.device_batches import DeviceBatches
from ..schedule import phase_at
from ..settings import Settings, read_settings
from .card import write_card
from .checkpoint import NAME, load_checkpoint, save_checkpoint
from .data_workers import worker_ended, workers_heard
from .progress import HISTORY, Journal, Pace, contact_sheet
from .run import Run, write_weights
from .update import Unsound, Update
from .validation import validate

WEIGHTS, BEST = "weights.safetensors", "best.safetensors"
#: Seconds to wait for the data workers of a run that was killed: they hold its folder until they see its end.
PATIENCE = 20.0


def train(
    settings: Settings, data_root: Path, out: Path, *, resume: bool = False, init: Path | None = None,
    until: int | None = None, device: str = "auto", skip_broken: bool = False,
) -> int:  # fmt: skip
    """Trains to the last update of the settings, to ``until``, or to a stop signal. Returns the exit code.

    Raises `InputError` for bad settings or data, `AcdcError` for a full disk, a folder that cannot be written or a
    process of the run that ended.
    """
    if until is not None and until < 1:
        raise InputError(f"--until must be at least 1, not {until}")
    if not data_root.is_dir():
        raise InputError(f"--data-root {data_root}: no such folder")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    try:
        with join(device) as world:  # leaves the group after the network is freed: freeing DDP needs the group
            return _train(settings, data_root, out, resume, init, until, skip_broken, world)
    except (RuntimeError, ConnectionError, EOFError) as error:
        if (gone := worker_ended(error) or lost(error)) is None:
            raise
        raise AcdcError(f"{gone}. {_then(out)}") from error
    except OSError as error:  # a full disk, a folder that cannot be written
        wrong = f"{error.filename or out}: {error.strerror or error}"
        raise AcdcError(f"{wrong}; {_then(out)}") from error


def _then(out: Path) -> str:
    saved = (out / NAME).exists()
    return "--resume goes on from the last checkpoint" if saved else "nothing was saved yet: begin again"


def _train(
    settings: Settings, data_root: Path, out: Path, resume: bool, init: Path | None, until: int | None,
    skip_broken: bool, world: World,
) -> int:  # fmt: skip
    if settings.fixed_norm and not (init or resume):
        raise InputError("fixed_norm keeps the means and variances of trained weights: name these with --init")
    if not resume:  # before the data are read, which may take minutes
        _make_folder(out)
        _check_new(out)
    sources = [open_source(s, data_root, skip_broken) for s in settings.databases]
    held_out = [open_source(s, data_root, skip_broken) for s in settings.validation]
    run = Run(settings, world)
    if init:
        run.start_from(init)
    with locked(out, PATIENCE) if world.leads and out.is_dir() else nullcontext():
        if resume:
            run.restore(load_checkpoint(out / NAME))
        else:
            _check_new(out)  # another process may have begun one
        if world.leads:
            sweep(out / WEIGHTS, out / BEST, out / NAME, out / HISTORY)
        batches = (DeviceBatches if settings.on_device else Batches)(settings, sources, world)
        last = min(until or settings.updates, settings.updates)
        if world.leads and not sys.stderr.isatty():
            faces = sum(len(source) for source in sources)
            told = f"{faces} faces, updates {run.step} to {last}; the first batch is being made"
            print(told, file=sys.stderr, flush=True)
        with StopRequests() as stops, workers_heard():
            try:
                stopped = _loop(run, batches, held_out, out, last, stops)
            except InputError as error:  # a broken picture: what was learnt before it is kept
                if isinstance(error, Unsound) or not (world.leads and run.step):
                    raise
                save_checkpoint(out / NAME, run.state())
                raise InputError(f"{error}; update {run.step} is saved, --resume goes on from there") from error
        return _finish(run, (sources, held_out), out, stopped, stops.received)


def _finish(
    run: Run, databases: tuple[list[Database], list[Database]], out: Path, stopped: bool, signals: Sequence[int]
) -> int:
    """Writes the weights and their card, unless the run was stopped. Returns the exit code."""
    world = run.world
    if stopped:
        if world.leads:
            print(f"stopped after update {run.step}; --resume goes on from there", file=sys.stderr)
        return 128 + (signals[0] if signals else signal.SIGTERM)
    if world.leads:
        best = run.settings.patience is not None and (out / BEST).exists()
        with written_beside(out / WEIGHTS) as beside:
            if best:
                shutil.copyfile(out / BEST, beside)
            else:
                write_weights(run, beside)
            # Where there are weights a run is done (`recipe`, `ablation`), so the card comes before them.
            card = write_card(out, beside, run.settings, *databases, str(world.device))
        of = run.best.step if best else run.step
        print(f"{out / WEIGHTS}: trained weights after {of} updates", file=sys.stderr)
        print(f"{card}: their card", file=sys.stderr)
    return 0


def _check_new(out: Path) -> None:
    if (out / NAME).exists():
        raise InputError(f"{out} holds a run already: add --resume to go on with it, or choose another --out")


def _make_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file, not a folder")
    try:
        make_folder(out)
    except OSError as error:
        raise AcdcError(f"--out {out}: cannot be made: {error.filename}: {error.strerror}") from error


def _loop(run: Run, batches: Batches, held_out: list[Any], out: Path, last: int, stops: StopRequests) -> bool:
    """Updates up to ``last``. Returns whether a signal stopped it before."""
    settings, world = run.settings, run.world
    journal = Journal(out, run.step) if world.leads else None
    hidden = None if world.leads else True  # None: shown only on a terminal
    bar = tqdm(total=last, initial=run.step, unit="update", disable=hidden, dynamic_ncols=True)
    update, saved, stopping, pace = Update(run), time.monotonic(), False, Pace(run.step, last)
    enough = run.best.enough(settings.patience)
    if settings.patience is not None and run.step == 0:
        _validated(run, held_out, out, journal)  # what the run starts from, to compare with
    for batch in batches.loader(run.step, run.step if enough else last):
        image, targets = batch.to(world.device, settings.channels_last)
        update(image, targets, batch.source)
        bar.update()
        if run.step % settings.log_every == 0:
            stops.listen()
            means = run.report()
            if journal:
                journal.write(run.step, means)
                told = {k.split("/")[0]: v for k, v in means.items() if k.endswith("/loss")}
                bar.set_postfix({k: f"{v:.4f}" for k, v in told.items()})
                if bar.disable and (line := pace.line(run.step, told)):
                    print(line, file=sys.stderr, flush=True)
        if run.step % settings.validate_every == 0 or run.step == last:
            enough = _validated(run, held_out, out, journal)
        stopping = world.any(bool(stops.received))
        due = time.monotonic() - saved > 60 * settings.checkpoint_minutes
        if world.leads and (due or stopping or enough or run.step == last):
            update.check()
            save_checkpoint(out / NAME, run.state())
            saved = time.monotonic()
        stopping = stopping and run.step < last and not enough
        if stopping or enough:
            break
    bar.close()
    if journal:
        journal.close()
    return stopping


def _validated(run: Run, held_out: list[Any], out: Path, journal: Journal | None) -> bool:
    """Validates, and keeps the weights if they are the best so far. Returns whether the run should end: all processes
    say the same."""
    settings, world, found = run.settings, run.world, dict[str, float]()
    resolution = phase_at(max(run.step - 1, 0), settings.phases).resolution
    for database in held_out if journal else ():
        assert journal is not None
        values, sheet = validate(run.best_network, database, resolution, world.device)
        found |= {f"{database.split}/{k}": v for k, v in values.items()}
        journal.write(run.step, {f"validation/{k}": v for k, v in values.items()})
        journal.picture(run.step, f"{database.name}-{database.split}", contact_sheet(*sheet))
    if settings.patience is None:
        return False
    if journal and run.best.judge(run.step, found, settings):
        write_weights(run, out / BEST)
    ends = world.any(run.best.enough(settings.patience))
    if ends and journal:
        best = f"the least, {run.best.error:.2f} %, after {run.best.step} updates"
        print(f"update {run.step}: the validation error no longer falls ({best})", file=sys.stderr)
    return ends


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="YAML", help="settings (configs/*.yaml)")
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR", help="folder that holds the databases")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for checkpoints and logs")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument(
        "--init", type=Path, metavar="WEIGHTS", help=f"start from a file, or from {', '.join(bundled())}"
    )
    parser.add_argument("--until", type=int, metavar="N", help="end after update N as if it were the last")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--skip-broken", action="store_true", help="leave broken faces out instead of stopping")
    parser.epilog = (
        "example: acdc-fast train --config configs/history/w16/1-stage.yaml --data-root data --out runs/1; "
        "on 8 GPUs: torchrun --nproc-per-node 8 -m acdc_fast.training.loop.train --config configs/paper.yaml …"
    )


def run(args: argparse.Namespace) -> int:
    init = bundled().get(str(args.init), args.init)
    return train(
        read_settings(args.config), args.data_root, args.out, resume=args.resume, init=init, until=args.until,
        device=args.device, skip_broken=args.skip_broken,
    )  # fmt: skip


@errors_in_one_line("acdc-fast train")
def main() -> int:
    """Entry for torchrun."""
    parser = Parser(prog="acdc-fast train", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
