"""``acdc-fast evaluate``: the metrics of the paper on whichever databases are present, beside the published figures."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from acdc_fast import __version__
from acdc_fast.checks import check_free
from acdc_fast.command_parser import Parser
from acdc_fast.config import ACDCConfig
from acdc_fast.errors import InputError
from acdc_fast.files import written_beside
from acdc_fast.metadata import resolution_of
from acdc_fast.network import ACDC
from acdc_fast.options import check_resolution
from acdc_fast.weights import bundled, load_weights

from ..command_errors import errors_in_one_line
from ..data import REGISTRY, Database
from ..fits.calibration import calibrate
from ..fits.early_exit import write_enough
from ..fits.pose_readout import RIDGE, write_readout
from ..fits.presence_fit import write_presence
from ..observations import observe_align, observe_crops
from ..sampling.batches import open_source
from ..settings import Source
from .figures import draw_excitations, draw_masks
from .page import write_page
from .report import report
from .tables import SUBSETS, database_tables, paper_tables, table
from .uncertainty import HIDDEN_HEADS, draw_risk, half_hidden

#: What is looked for if --databases names nothing. The first one found with --detector tests the whole path.
WANTED = ("mtfl-dev", "frames68", "synthetic", "300w", "aflw2000", "celeba", *(f"wflw/{s}" for s in SUBSETS))
#: Split of each database that no training uses.
TESTS = {"mtfl-dev": "dev", "aflw68": "dev", "aflw-pose": "dev"}


def load_network(path: Path) -> tuple[ACDC, int]:
    """The eager network in eval mode, and the resolution that its card names (about 128 if it names none)."""
    weights = load_weights(path)
    config = weights.config
    return ACDC.holding(config, weights.arrays), resolution_of(weights.card, str(path), config.crop_unit)


def open_all(names: list[str] | None, root: Path, skip_broken: bool) -> dict[str, Database]:
    """The databases named (``mtfl-dev``, ``wflw/pose``, ``mtfl/train[:500]``), or all test splits that are present."""
    found: dict[str, Database] = {}
    absent: list[str] = []
    for name in names or WANTED:
        database, _, split = name.partition("/")
        if database not in REGISTRY:
            raise InputError(f"--databases: unknown {database!r}; known: {', '.join(REGISTRY)}")
        try:
            found[name] = open_source(Source(database, split or TESTS.get(database, "test")), root, skip_broken)
        except InputError:
            if names:
                raise
            absent.append(name)
    if not found:
        raise InputError(f"--data-root {root}: none of {', '.join(WANTED)} found there")
    if absent:
        print(f"not read: {', '.join(absent)}; name one with --databases for the reason", file=sys.stderr)
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", metavar="WEIGHTS", help=f"file, or a name: {', '.join(bundled())}")
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR", help="folder that holds the databases")
    parser.add_argument(
        "--databases", nargs="+", metavar="NAME", help="such as mtfl-dev, wflw/pose or mtfl/train[:500]"
    )
    parser.add_argument("--detector", action="store_true", help="through Model.align: misses count as 1.0")
    parser.add_argument("--dtype", default="float32", help="of Model.align, with --detector (%(default)s)")
    parser.add_argument("--mirror", action="store_true", help="of Model.align, with --detector: mirror images, too")
    parser.add_argument("--resolution", type=int, metavar="S", help="side of the crops (default: the weights' own)")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N faces of each database")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that are there already")
    parser.add_argument("--report", type=Path, metavar="HTML", help="write one page: tables, curves, worst faces")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="draw figures 5, 6 and risk-coverage there")
    parser.add_argument("--hide", action="store_true", help="cover half of each face; print whether the spread grows")
    parser.add_argument("--calibrate", type=Path, metavar="OUT", help="fit confidence on these faces, write weights")
    parser.add_argument("--pose", type=Path, metavar="OUT", help="fit the pose's polynomial here, write weights")
    parser.add_argument(
        "--pose-ridge", type=float, default=RIDGE, metavar="X",
        help="penalty of the polynomial; the larger, the nearer to the dense layer (%(default)g)",
    )  # fmt: skip
    parser.add_argument("--half", action="store_true", help="write the weights in half precision")
    parser.add_argument("--enough", type=Path, metavar="OUT", help="find where stages='auto' may end, write weights")
    parser.add_argument("--presence", type=Path, metavar="OUT", help="find where maps show no face, write weights")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--skip-broken", action="store_true", help="leave broken faces out instead of stopping")
    parser.epilog = "example: acdc-fast evaluate acdc-w32 --data-root data --databases mtfl-dev --detector"


def run(args: argparse.Namespace) -> int:
    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit must be at least 1, not {args.limit}")
    if args.pose and args.detector:
        raise InputError("--pose fits on crops that are cut by the labels: leave --detector out")
    if not 0 < args.pose_ridge < float("inf"):
        raise InputError(f"--pose-ridge must be above 0 and finite, not {args.pose_ridge:g}")
    if args.dtype != "float32" and not args.detector:
        raise InputError(f"--dtype {args.dtype} needs --detector: without it the eager network runs, in float32")
    if args.mirror and not args.detector:
        raise InputError("--mirror needs --detector: without it the crops are seen as they are")
    if args.hide and args.json:
        raise InputError("--hide prints a table, --json prints nothing but JSON: leave one out")
    made = {n: getattr(args, n) for n in ("report", "figures", "calibrate", "pose", "enough", "presence")}
    weights_made = [made[n] for n in ("calibrate", "pose", "enough", "presence") if made[n]]
    if args.half and not weights_made:
        raise InputError("--half needs weights to write: --calibrate, --pose, --enough or --presence")
    if args.pose_ridge != RIDGE and not args.pose:
        raise InputError("--pose-ridge needs --pose")
    places = [os.path.realpath(place) for place in made.values() if place]
    if len(set(places)) < len(places):
        raise InputError("two outputs have one place; each needs a name of its own")
    if args.figures and args.figures.exists() and not args.figures.is_dir():
        raise InputError(f"--figures {args.figures}: is a file, not a folder")
    if not args.data_root.is_dir():
        raise InputError(f"--data-root {args.data_root}: no such folder")
    check_free((args.report, args.calibrate, args.pose, args.enough, args.presence), args.overwrite)
    path = bundled().get(str(args.weights), Path(args.weights))
    network, own = load_network(path)
    asked = own if args.resolution is None else args.resolution
    resolution = check_resolution(asked, "--resolution", network.config.crop_unit)
    device = torch.device("cuda" if args.device != "cpu" and torch.cuda.is_available() else "cpu")
    network.to(device)
    databases = open_all(args.databases, args.data_root, args.skip_broken)
    reports: dict[str, Any] = {}
    seen, loaded = {}, load_weights(path)
    readout = None if args.pose else loaded.pose  # --pose fits the polynomial to the network's own output
    for name, database in databases.items():
        if args.detector:
            seen[name] = observe_align(path, database, resolution, args.limit, dtype=args.dtype, mirror=args.mirror)
        else:
            seen[name] = observe_crops(network, database, resolution, device, args.limit, loaded.refinement, readout)
        reports[name] = report(seen[name], loaded.calibration, float(loaded.card.get("enough", 0)))
    if args.json:
        header = {"weights": str(path), "resolution": resolution}
        header |= {name: getattr(args, name) for name in ("detector", "dtype", "mirror")}
        print(json.dumps(header | {"databases": reports}))
    else:
        for text in [*paper_tables(reports), *(t for n, r in reports.items() for t in database_tables(n, r))]:
            print(text, end="\n\n")
    if args.hide:
        for name, database in databases.items():
            rows = half_hidden(network.cpu(), database, resolution, args.limit)
            title = f"{name}: spread in % of the crop's side, half of the face covered"
            print(table(title, HIDDEN_HEADS, {m: [100 * v for v in r] for m, r in rows.items()}), end="\n\n")
    if args.report:
        path_taken = "Model.align with the detector" if args.detector else "crops of the labels"
        about = {
            "weights": str(args.weights), "terms of the weights": loaded.card.get("licence", "not stated"),
            "crops": f"{resolution}²", "path": path_taken, "version": __version__,
            "faces of each database": "all" if args.limit is None else f"at most {args.limit}",
        }  # fmt: skip
        write_page(args.report, about, reports, seen, databases, loaded.calibration, args.limit)
    if args.figures:
        draw_figures(network.cpu(), next(iter(databases.values())), resolution, args.figures)
        with written_beside(args.figures / "risk-coverage.png") as beside:
            draw_risk(seen, beside)
    if args.calibrate:
        calibrate(path, list(seen.values()), args.calibrate, args.half)
    if args.pose:
        write_readout(path, seen, args.pose, args.half, args.pose_ridge)
    if args.enough:
        write_enough(path, seen, args.enough, args.half)
    if args.presence:
        write_presence(path, list(databases.values()), args.presence, args.limit, args.half)
    for place in filter(None, made.values()):
        print(f"wrote {place}", file=sys.stderr)
    return 0


def draw_figures(network: ACDC, database: Database, resolution: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with written_beside(folder / "figure6-masks.png") as beside:
        draw_masks(network, database, resolution, beside)
    config: ACDCConfig = network.config
    if config.has_excitation:
        with written_beside(folder / "figure5-excitations.png") as beside:
            draw_excitations(network, database, resolution, beside)


@errors_in_one_line("acdc-fast evaluate")
def main() -> int:
    parser = Parser(prog="acdc-fast evaluate", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
