"""Run as a program: `recipe` or `ablation` is killed at random moments and begun again with the same command; prints a
JSON report. See `tests/training/test_command_kills.py`.

``python command_trials.py FOLDER recipe|ablation TRIALS SEED``. Each run is a forked child of this process, which
itself never computes anything, so no thread is ever forked; so are the steps of a recipe, which are processes of their
own otherwise. That saves each of them the seconds in which Python loads torch.

A trial kills once or twice: all processes at once, as a power cut does, or the command alone, of which a step may then
outlive it. Its moment is drawn in seconds of CPU, so other work on the machine does not matter.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch.utils.tensorboard  # noqa: F401
from helpers import made_up
from helpers.faces import write_faces

from acdc_fast.markups import MARKUPS
from acdc_fast.training import recipe
from acdc_fast.training.evaluation import ablation, evaluate  # noqa: F401
from acdc_fast.training.fits.pose_readout import MIN_FACES
from acdc_fast.training.loop.checkpoint import NAME
from acdc_fast.training.synthesis import face_tar
from acdc_fast.training.synthesis.render import Rendered

SETTINGS = """
network: {width: 4, stages: STAGES, variant: ac-dc, markups: [2d5, 3d68]}
databases: [{name: mtfl, batches: 1}]
phases: [{updates: 3, resolution: 32, batch: 4}]
optimiser: {rate: 1e-2, muon_rate: 1e-2, warmup: 2, clip: 1.0, ema: 0.9}
validation: [{name: mtfl, split: "train[:3]"}]
threads: 1
workers: 0
log_every: 1
validate_every: 3
checkpoint_minutes: 0
card: {licence: none, narrowest_spread: "0.05"}
"""
RECIPE = """
name: small
draw: [{source: synthetic, split: test, faces: 2}]
teach: [{weights: acdc-w16-phone, database: mtfl}]
runs: [one.yaml, two.yaml]
share: 0.5
fits: {people: false, pose: [synthetic/train], presence: ["mtfl/train[:2]"], enough: ["mtfl/train[:4]"], limit: null,
       refinement: null}
"""
COMMANDS = {
    "recipe": (recipe, ["recipe.yaml", "--data-root", "data", "--out", "out"]),
    "ablation": (ablation, ["--config", "one.yaml", "two.yaml", "--data-root", "data", "--out", "out", "--seeds", "1",
                            "--databases", "mtfl/train"]),
}  # fmt: skip


def write_inputs(root: Path, name: str) -> None:
    """Settings, and twelve discs with five points."""
    (root / "data").mkdir(parents=True)
    write_faces(root / "data")
    (root / "one.yaml").write_text(SETTINGS.replace("STAGES", "2" if name == "recipe" else "1"))
    (root / "two.yaml").write_text(SETTINGS.replace("STAGES", "2"))
    if name == "recipe":
        write_recipe(root)


def write_recipe(root: Path) -> None:
    """A made-up head, and noisy pictures with a pose, as many as its fit asks for."""
    (root / "recipe.yaml").write_text(RECIPE)
    made_up.write(root / "data")
    points = {m: np.random.default_rng(1).uniform(16, 32, (MARKUPS[m].points, 2)) for m in ("2d5", "3d68")}

    def draw(index: int) -> Rendered:
        rng = np.random.default_rng(index)
        found = {m: (p + rng.normal(0, 1, p.shape)).astype(np.float32) for m, p in points.items()}
        seen = {m: np.ones(len(p), bool) for m, p in points.items()}
        picture = rng.integers(0, 256, (48, 48)).astype(np.uint8)
        return Rendered(picture, found, seen, rng.uniform(-40, 40, 3).astype(np.float32), np.zeros(68, np.float32))

    true, face_tar.detected_box = face_tar.detected_box, lambda _: np.full(4, np.nan, np.float32)
    face_tar.write_drawn(root / "data" / "synthetic-train.tar", draw, tuple(points), range(MIN_FACES + 5), 1)
    face_tar.detected_box = true


class Step:
    """`subprocess.Popen` of ``python -m MODULE``: a forked child, which has the open files that ``pass_fds`` gives."""

    def __init__(self, command: Sequence[str], env: dict[str, str], pass_fds: Sequence[int]) -> None:
        self.pid = os.fork()
        if not self.pid:
            code = 70
            try:
                sys.argv = list(command[2:])
                main = "" if importlib.util.find_spec(command[2]).submodule_search_locations is None else ".__main__"
                code = importlib.import_module(command[2] + main).main()
            except BaseException:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(code)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def fields(pid: int) -> list[str]:
    """Of ``/proc/PID/stat``, after the name; empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def seconds(pid: int) -> float:
    """Of CPU that a process and all its children have used."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    return sum(map(int, fields(pid)[11:15])) / os.sysconf("SC_CLK_TCK") + sum(seconds(int(c)) for c in children)


def ended(pid: int) -> bool:
    return fields(pid)[:1] == ["Z"]


class Trials:
    def __init__(self, root: Path, name: str, seed: int) -> None:
        self.root, self.out, self.random = root, root / "out", random.Random(seed)
        self.command, self.arguments = COMMANDS[name]
        shutil.rmtree(self.out, ignore_errors=True)
        self.told = self.wait(self.start())
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.seconds = used.ru_utime + used.ru_stime  # of CPU: other work on the machine does not count
        assert self.told["code"] == 0, self.told
        self.wanted = self.state()

    def start(self) -> int:
        """A child in a group of its own. It leaves its exit code and what it printed in ``told.json``."""
        (self.root / "told.json").unlink(missing_ok=True)
        pid = os.fork()
        if pid:
            with contextlib.suppress(OSError):
                os.setpgid(pid, pid)
            return pid
        os.setpgid(0, 0)
        os.chdir(self.root)
        recipe.subprocess.Popen = Step  # type: ignore[misc,assignment]
        os.cpu_count = lambda: 1  # type: ignore[assignment]  # faces are drawn by this process, not by a pool
        printed, code, wrong = io.StringIO(), 70, ""
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1), os.dup2(log, 2)
        try:
            sys.argv = ["command", *self.arguments]
            with contextlib.redirect_stdout(printed):
                code = self.command.main()
        except BaseException as error:
            wrong = repr(error)
        Path("told.json").write_text(json.dumps({"code": code, "printed": printed.getvalue(), "wrong": wrong}))
        os._exit(0)

    def wait(self, pid: int) -> dict[str, Any]:
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status):
            return {"code": -os.WTERMSIG(status)}
        told: dict[str, Any] = json.loads((self.root / "told.json").read_text())
        return told | {"log": (self.root / "log.txt").read_text()[-2000:]}

    def state(self) -> dict[str, str]:
        """Digests of all that a run leaves. TensorBoard's files and checkpoints have times in them. A hidden file was
        being written beside its place when the kill came: no reader sees it."""
        files = [p for p in self.out.rglob("*") if p.is_file() and not p.is_symlink()]
        kept = [p for p in files if not p.name.startswith(("events", ".")) and p.name != NAME]
        return {str(p.relative_to(self.out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}

    @staticmethod
    def last(told: dict[str, Any]) -> list[str]:
        """What is printed but the steps: the table of an ablation, the weights of a recipe."""
        return [line for line in told["printed"].splitlines() if not line.startswith("[")]

    def finish(self) -> str | None:
        """Gives the command again; what is wrong with the end, or None."""
        told = self.wait(self.start())
        if told["code"]:
            return f"the command ends with {told}"
        found = self.state()
        if set(found) != set(self.wanted):
            return f"files differ: {sorted(set(found) ^ set(self.wanted))}"
        wrong = [name for name in found if found[name] != self.wanted[name]]
        if wrong:
            return f"{', '.join(wrong)} differ from those of the undisturbed run"
        return None if self.last(told) == self.last(self.told) else f"printed {told['printed'][-500:]}"

    def trial(self) -> tuple[str, str | None]:
        shutil.rmtree(self.out, ignore_errors=True)
        struck = []
        for _ in range(self.random.choice((1, 2))):
            after, alone = self.random.uniform(0.02, self.seconds), self.random.random() < 0.3
            pid = self.start()
            while seconds(pid) < after and not ended(pid):
                time.sleep(0.005)
            (os.kill if alone else os.killpg)(pid, signal.SIGKILL)
            code = self.wait(pid)["code"]
            how = ("all", "alone")[alone] if code else "had ended"
            struck.append(f"{how} after {after:.1f} s, {len(self.state())} files")
        return ", ".join(struck), self.finish()


def main() -> None:
    root, name, count, seed = Path(sys.argv[1]).resolve(), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    write_inputs(root, name)
    trials = Trials(root, name, seed)
    found = []
    for _ in range(count):
        found.append(trials.trial())
        print(*found[-1], file=sys.stderr, flush=True)
    print(json.dumps({"seconds": trials.seconds, "files": sorted(trials.wanted), "trials": found}))


if __name__ == "__main__":
    main()
