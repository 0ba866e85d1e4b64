"""``python -m acdc_fast.training.recipe``: all steps that lead to shipped weights, as one command.

A recipe (configs/*/recipe.yaml) names the faces to draw, the teachers, the runs in their order (each starts from the
weights of the one before), and the fits afterwards with their databases. A step with a result is left out. An
interrupted run goes on from its checkpoint. So after an interruption, give the same command again. Weights that teach
themselves, or that two kinds of machine made, need two recipes: one names the other as its ``first``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from acdc_fast.command_parser import Parser
from acdc_fast.errors import InputError
from acdc_fast.files import make_folder, sweep
from acdc_fast.locks import locked
from acdc_fast.stopping import stop_signals
from acdc_fast.weights import bundled

from .command_errors import errors_in_one_line
from .data.taught import labels_path
from .loop.checkpoint import NAME
from .recipe_settings import Recipe, checked_recipe, read_recipe

Step = tuple[Path, list[str]]  # the file that it makes, and its command


def steps(recipe: Recipe, folder: Path, out: Path, python: str = sys.executable) -> list[Step]:
    """All steps in order. Settings lie in ``folder``. ``out`` gets the data and a folder for each run."""
    data, found = str(out / "data"), list[Step]()
    before = str(bundled().get(recipe.start, recipe.start)) if recipe.start else None
    if recipe.first:
        earlier = read_recipe(folder / recipe.first)
        found += steps(earlier, (folder / recipe.first).parent, out, python)
        before = str(_weights(earlier.runs[-1], out))
    made = str(found[-1][0]) if found else ""
    for drawn in recipe.draw:
        tar = out / "data" / f"{drawn.source}-{drawn.split}.tar"
        drawing = ["--source", drawn.source, "--split", drawn.split, "--render", str(drawn.faces), "-o", str(tar)]
        found.append((tar, [python, "-m", "acdc_fast.training.synthesis", "--data-root", data, *drawing]))
    for teacher in recipe.teach:
        weights = teacher.weights or made
        place = labels_path(out / "data", teacher.database, teacher.split, Path(weights).stem)
        teaching = [weights, "--data-root", data, "--database", teacher.database, "--split", teacher.split]
        found.append((place, [python, "-m", "acdc_fast.training.teach", *teaching]))
    # Numeric addresses: looking up this machine's own name may hang without a network.
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    many = ["-m", "torch.distributed.run", *rendezvous, "--nproc-per-node", str(recipe.processes)]
    for settings in recipe.runs:
        result = _weights(settings, out)
        place = result.parent
        how = ["--resume"] if (place / NAME).exists() else ["--init", before] if before else []
        launch = [python, *(many if recipe.processes > 1 else []), "-m", "acdc_fast.training.loop.train"]
        where = ["--config", str(folder / settings), "--data-root", data, "--out", str(place)]
        where += ["--device", recipe.device]
        origin, before = before, str(result)
        found.append((result, [*launch, *where, *how]))
    if recipe.share:
        result = out / f"{recipe.name}-between.safetensors"
        between = [str(origin), str(before), "--share", str(recipe.share), "-o", str(result)]
        found.append((result, [python, "-m", "acdc_fast.training.fits.interpolate", *between]))
        before = str(result)
    if recipe.fits.refinement:
        result = out / f"{recipe.name}-refinement.safetensors"
        fit_settings = folder / (recipe.fits.settings or recipe.runs[-1])
        where = ["--config", str(fit_settings), "--data-root", data, "--half", "-o", str(result)]
        fit = [python, "-m", "acdc_fast.training.fits.refinement_fit", str(before)]
        fit += ["--limit", str(recipe.fits.refinement)]
        found.append((result, [*fit, *where]))
        before = str(result)
    by_people = ["people", "confidence", "orientation", "visibility"] if recipe.fits.people else []
    order = ("people", "pose", "confidence", "orientation", "presence", "visibility", "enough")
    for kind in [k for k in order if k in ("pose", "presence", "enough", *by_people)]:
        result = out / (f"{recipe.name}.safetensors" if kind == "enough" else f"{recipe.name}-{kind}.safetensors")
        where = [str(before), "--data-root", data, "--half"]
        if kind in by_people:
            found.append((result, [python, "-m", f"acdc_fast.training.fits.{kind}_fit", *where, "-o", str(result)]))
        else:
            asked = ["--databases", *getattr(recipe.fits, kind), f"--{kind}", str(result)]
            asked += ["--limit", str(recipe.fits.limit)] if kind == "pose" and recipe.fits.limit else []
            asked += ["--pose-ridge", str(recipe.fits.pose_ridge)] if kind == "pose" and recipe.fits.pose_ridge else []
            found.append((result, [python, "-m", "acdc_fast.training.evaluation.evaluate", *where, *asked]))
        before = str(result)
    return found


def _weights(settings: str, out: Path) -> Path:
    """The weights file that a run writes."""
    return out / Path(settings).stem / "weights.safetensors"


def run_recipe(path: Path, data_root: Path, out: Path) -> int:
    """Runs the steps that are left. Returns the exit code of the first that fails, else 0."""
    recipe = checked_recipe(path)
    if not data_root.is_dir():
        raise InputError(f"--data-root {data_root}: no such folder")
    make_folder(out / "data")
    with locked(out) as lock:
        for item in data_root.iterdir():  # drawn faces must lie beside their sources, whose folder may be read-only
            link = out / "data" / item.name
            if not link.exists():
                link.unlink(missing_ok=True)  # one to a place that is gone
                link.symlink_to(os.path.realpath(item))
        total = steps(recipe, path.parent, out)
        for number, (result, command) in enumerate(total, 1):
            if result.exists():
                print(f"[{number}/{len(total)}] {result} is there", flush=True)
                continue
            print(f"[{number}/{len(total)}] {' '.join(command)}", flush=True)
            sweep(result)  # of a step that was killed
            code = run_step(command, lock)
            if code:
                print(f"ended with code {code}; the same command goes on from here", file=sys.stderr)
                return code
    print(f"{total[-1][0]} is written")
    return 0


def run_step(command: list[str], lock: int) -> int:
    """Runs one step; gives its exit code. A request to stop goes on to the step, which may keep its work first.

    The step holds the recipe's lock too: if the recipe alone is killed, the step goes on, and a second recipe must not
    begin beside it.
    """
    step: subprocess.Popen[bytes] | None = None
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        asked.append(number)
        if step:
            step.send_signal(number)

    before = {number: signal.signal(number, ask) for number in stop_signals()}
    try:
        handles = () if sys.platform == "win32" else (lock,)
        step = subprocess.Popen(command, env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ}, pass_fds=handles)
        for number in asked:  # before there was a step
            step.send_signal(number)
        return step.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@errors_in_one_line()
def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        prog="python -m acdc_fast.training.recipe", description="Makes shipped weights, from the data to the file.",
        epilog="example: python -m acdc_fast.training.recipe configs/w32/recipe.yaml --data-root data --out runs/w32",
    )  # fmt: skip
    parser.add_argument("recipe", type=Path, metavar="YAML")
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR", help="folder that holds the databases")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for drawn faces, runs, weights")
    options = parser.parse_args(arguments)
    return run_recipe(options.recipe, options.data_root, options.out)


if __name__ == "__main__":
    sys.exit(main())
