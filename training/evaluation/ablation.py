"""The paper's ablation (§IV-B, Table I): AC, AC+Pose and AC-DC with one budget, several seeds each, mean and deviation.

All runs use the same settings, except for variant and seed. With several files of settings, each starts from the
weights of the one before, as a cascade grows (`growing`). A finished run is not repeated; an interrupted one resumes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, get_args

import torch

from acdc_fast.command_parser import Parser
from acdc_fast.config import Variant
from acdc_fast.errors import InputError
from acdc_fast.files import written_beside

from ..command_errors import errors_in_one_line
from ..fits.command import check_limit
from ..loop.checkpoint import NAME
from ..loop.train import train
from ..observations import observe_crops
from ..settings import Settings, read_settings
from .evaluate import load_network, open_all
from .report import report
from .tables import table

NAMES = {"ac": "AC", "ac+pose": "AC+Pose", "ac-dc": "AC-DC"}

Scores = dict[str, float]


def scores(reports: Mapping[str, Mapping[str, Any]]) -> Scores:
    """The last stage's figures by name: NME of each markup (2d5: offset removed), mean absolute error of the pose.

    Where people have flagged 68 points: their errors by flag and by pose class, offset removed (`flagged`).
    """
    found: Scores = {}
    for name, values in reports.items():
        for markup, m in values["markups"].items():
            found[f"{name} {markup}"] = m["nme_offset_removed" if markup == "2d5" else "nme"][-1]
        found |= {f"{name} {kind}": errors[1] for kind, errors in values.get("flagged", {}).items()}
        if "pose" in values:
            found[f"{name} pose °"] = values["pose"]["mae"][-1][-1]
    return found


def grown(chain: Sequence[Settings], variant: Variant, seed: int, data_root: Path, out: Path) -> Path | None:
    """The weights at the end of the chain. None if the run was asked to stop."""
    weights = None
    for number, settings in enumerate(chain):
        # One stage has no fusion, so AC-DC equals AC+Pose there. Both go on from the same weights.
        kind: Variant = "ac+pose" if variant == "ac-dc" and settings.network.stages == 1 else variant
        own = replace(settings, seed=seed, network=replace(settings.network, variant=kind))
        folder = out / f"{kind}-{seed}-{number}"
        before, weights = weights, folder / "weights.safetensors"
        resume = (folder / NAME).exists()
        if not weights.exists() and train(own, data_root, folder, resume=resume, init=None if resume else before):
            return None
    return weights


def one_run(
    chain: Sequence[Settings], variant: Variant, seed: int, data_root: Path, out: Path, databases: list[str], limit: int
) -> Scores | None:
    """Trains and measures one network, or reads an earlier result. None if the run was asked to stop."""
    kept = out / f"{variant}-{seed}.json"
    if not kept.exists():
        weights = grown(chain, variant, seed, data_root, out)
        if weights is None:
            return None
        network, resolution = load_network(weights)
        seen = {
            name: report(observe_crops(network, database, resolution, torch.device("cpu"), limit))
            for name, database in open_all(databases, data_root, skip_broken=False).items()
        }
        with written_beside(kept) as beside:
            beside.write_text(json.dumps(scores(seen), indent=1))
    try:
        values: Scores = {str(name): float(value) for name, value in json.loads(kept.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{kept}: not the scores of a run ({error}); delete it to measure again") from error
    return values


def summary(found: Mapping[str, Sequence[Scores]], chain: Sequence[Settings]) -> str:
    """A table like Table I: two rows for each variant, mean and standard deviation over the seeds."""
    heads = list(dict.fromkeys(h for runs in found.values() for h in runs[0]))
    rows: dict[str, list[float | None]] = {}
    for variant, runs in found.items():
        for label, measure in (("mean", mean), ("deviation", _deviation)):
            rows[f"{NAMES[variant]}, {label} of {len(runs)}"] = [
                measure([r[h] for r in runs]) if all(h in r for r in runs) else None for h in heads
            ]
    budget = "; ".join(
        f"width {s.network.width}, stages {s.network.stages}: {p.updates} updates of {p.batch} faces at {p.resolution}²"
        for s in chain
        for p in s.phases
    )
    return table(budget, heads, rows)


def _deviation(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def run(args: argparse.Namespace) -> int:
    chain = [read_settings(path) for path in args.config]
    if args.seeds < 1:
        raise InputError(f"--seeds must be at least 1, not {args.seeds}")
    check_limit(args.limit)
    if not args.data_root.is_dir():
        raise InputError(f"--data-root {args.data_root}: no such folder")
    for path, settings in zip(args.config, chain, strict=True):
        for variant in get_args(Variant):
            try:
                replace(settings.network, variant=variant)
            except ValueError as error:
                raise InputError(f"{path}: network: {error}") from error
    open_all(args.databases, args.data_root, skip_broken=False)  # before the runs, which take hours
    found: dict[str, list[Scores]] = {}
    for seed in range(args.seeds):  # every variant once before the next seed: a partial answer comes early
        for variant in get_args(Variant):
            values = one_run(chain, variant, seed, args.data_root, args.out, args.databases, args.limit)
            if values is None:
                return 1
            found.setdefault(variant, []).append(values)
    print(summary(found, chain))
    return 0


@errors_in_one_line("ablation")
def main() -> int:
    parser = Parser(prog="python -m acdc_fast.training.evaluation.ablation", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, nargs="+", metavar="YAML", help="configs/ablation/*.yaml")
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR", help="folder that holds the databases")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the runs")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each variant (default: 3)")
    parser.add_argument(
        "--databases", nargs="+", metavar="NAME", default=["aflw68", "mtfl-dev", "synthetic"],
        help="what to measure on (default: aflw68 mtfl-dev synthetic)",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, metavar="N", default=1001, help="faces of each database (default: 1001)")
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
