"""Measures this GPU in a few minutes and writes a page about it.

    python bench/gpu_page.py [--minutes 8] [--out runs/gpu] [--dry-run] [--only STEP …]

It needs a GPU, torch for CUDA with Triton, numpy, Pillow, PyYAML and tqdm; with pytest it runs the tests too, and with
nvcc it builds the CUDA kernels. acdc_fast need not be installed, and nothing is fetched from the network.

The steps, in this order: the machine, and a build of the CUDA kernels; the tests of the kernels; each kernel; whole
cascades; an update of training; block sizes; whole cascades beside torch.compile, which takes long to compile. Each
runs in a process of its own and has a share of the time. The page is written anew after each step, so whatever ends a
run early, what was found is there. `--dry-run` goes through all steps with tiny sizes on the CPU.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(1, str(ROOT))  # acdc_fast need not be installed

from gpu_budget import Step, run  # noqa: E402
from gpu_tables import page  # noqa: E402

from acdc_fast.files import written_beside  # noqa: E402

BENCH = Path(__file__).resolve().parent
#: Step → its share of the time, relative to the others. What one leaves goes to those after it.
SHARES = {
    "build": 8, "correctness": 16, "kernels": 18, "cascade": 18, "update": 8, "candidates": 12, "compiled": 20,
}  # fmt: skip
#: Triton's interpreter, and one thread: with such small tensors more only wait for each other.
DRY = {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
FOLDERS = {"acdc_fast": "acdc_fast", "kernels": "acdc_fast/kernels", "training": "acdc_fast/training",
           "csrc/cuda": "acdc_fast/csrc_cuda"}  # fmt: skip


def assemble(target: Path) -> None:
    """The package as users import it, from the folders of this checkout. Without weights and the CPU's library."""
    shutil.rmtree(target, ignore_errors=True)
    for source, place in FOLDERS.items():
        left_out = shutil.ignore_patterns("__pycache__", "pretrained", "*.so", "emulator")
        shutil.copytree(ROOT / source, target / place, ignore=left_out)


def environment(package: Path, dry: bool) -> dict[str, str]:
    """For the steps: they import this checkout's package, and nothing that the user has set changes the kernels."""
    paths = [str(package), str(BENCH), *filter(None, [os.environ.get("PYTHONPATH")])]
    set_aside = ("ACDC_BACKEND", "TRITON_INTERPRET")
    kept = {name: value for name, value in os.environ.items() if name not in set_aside}
    return kept | {"PYTHONPATH": os.pathsep.join(paths)} | (DRY if dry else {})


def plan(dry: bool, only: list[str]) -> list[Step]:
    steps = str(BENCH / "gpu_steps.py")
    flags = ["--dry-run"] if dry else []
    return [Step(name, share, [sys.executable, steps, name, *flags]) for name, share in SHARES.items() if name in only]


def measure(steps: list[Step], minutes: float, out: Path, dry: bool) -> int:
    """Runs the steps and writes ``out``/gpu.md. The number of steps that did not end well."""
    begun = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    for step in steps:  # an earlier run's results are no part of this page
        (out / f"{step.name}.json").unlink(missing_ok=True)
    assemble(out / "package")
    told: set[str] = set()

    def after(outcomes: dict[str, str]) -> None:
        for name in outcomes.keys() - told:
            print(f"{name}: {outcomes[name]}", flush=True)
            told.add(name)
        with written_beside(out / "gpu.md") as beside:
            beside.write_text(page(out, steps, outcomes, dry, time.monotonic() - begun), encoding="utf-8")

    after({})
    outcomes = run(steps, 60 * minutes, out, environment(out / "package", dry), after)
    print(f"The page is {out / 'gpu.md'}")
    return sum(not outcome.startswith("ended") for outcome in outcomes.values())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=8, help="time for all steps together (default: 8)")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder for the page (default: runs/gpu)")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU: tries the script, not a GPU")
    parser.add_argument("--only", nargs="+", choices=SHARES, default=list(SHARES), metavar="STEP",
                        help=f"these steps alone: {', '.join(SHARES)}")  # fmt: skip
    args = parser.parse_args()
    if not 0.1 <= args.minutes <= 24 * 60:
        parser.error(f"--minutes must lie between 0.1 and {24 * 60}, not {args.minutes:g}")
    return 1 if measure(plan(args.dry_run, args.only), args.minutes, args.out, args.dry_run) else 0


if __name__ == "__main__":
    sys.exit(main())
