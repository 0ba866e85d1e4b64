"""Run as a program: a training run is killed at random moments, or struck by a full disk, and resumed; prints a JSON
report. See `tests/training/loop/test_training_kills.py`.

``python train_trials.py FOLDER kill|full TRIALS SEED``, with `write_faces`'s tar and ``small.yaml`` in FOLDER. Each run
is a forked child of this process, which itself never computes anything, so no thread is ever forked.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch.utils.tensorboard  # noqa: F401
from helpers.faults import Faults

from acdc_fast.errors import AcdcError, InputError
from acdc_fast.training.loop.checkpoint import NAME, load_checkpoint
from acdc_fast.training.loop.progress import HISTORY
from acdc_fast.training.loop.train import train
from acdc_fast.training.settings import read_settings


class Trials:
    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.out, self.random = root, root / "out", random.Random(seed)
        self.settings = read_settings(root / "small.yaml")
        shutil.rmtree(self.out, ignore_errors=True)
        begun = time.monotonic()
        self.told = self.wait(self.start())
        self.seconds = time.monotonic() - begun
        assert self.told["code"] == 0, self.told
        self.wanted = self.state()
        self.calls = self.told["calls"]

    def start(self, faults: Faults | None = None) -> int:
        """A child that trains, or goes on where a checkpoint is. It leaves its exit code and error in ``told.json``."""
        (self.root / "told.json").unlink(missing_ok=True)
        pid = os.fork()
        if pid:
            return pid
        faults, said = faults or Faults(self.out), io.StringIO()
        faults.install()
        code, error = 70, ""
        try:
            with contextlib.redirect_stderr(said):
                resume = (self.out / NAME).exists()
                code = train(self.settings, self.root, self.out, resume=resume, device="cpu")
        except InputError as wrong:
            code, error = 2, str(wrong)
        except AcdcError as wrong:
            code, error = 1, str(wrong)
        except BaseException as wrong:
            error = repr(wrong)
        told = json.dumps({"code": code, "error": error, "calls": faults.log})
        faults.folder = "/nowhere"
        (self.root / "told.json").write_text(told)
        os._exit(0)

    def wait(self, pid: int) -> dict:
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status):
            return {"code": -os.WTERMSIG(status), "error": "", "calls": []}
        return json.loads((self.root / "told.json").read_text())

    def state(self) -> dict[str, str]:
        """Digests of the weights and the reports; TensorBoard's files have times in them, the checkpoint has too."""
        found = [p for p in self.out.rglob("*") if p.is_file() and not p.name.startswith("events") and p.name != NAME]
        return {str(p.relative_to(self.out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}

    def finish(self) -> str | None:
        """Resumes; what is wrong with the end, or None."""
        told = self.wait(self.start())
        if told["code"]:
            return f"the resumed run ends with {told['code']}: {told['error']}"
        names = {n for n in self.state() if not Path(n).name.startswith(".")}  # a killed writer's own file may stay
        if names != set(self.wanted):
            return f"files {sorted(names)}, not {sorted(self.wanted)}"
        wrong = [n for n in self.wanted if self.state()[n] != self.wanted[n]]
        return f"{', '.join(wrong)} differ from those of the undisturbed run" if wrong else None

    def reports(self) -> int:
        """Lines that the journal has; the run begins with none."""
        path = self.out / HISTORY
        return path.read_bytes().count(b"\n") + 1 if path.exists() else 0

    @staticmethod
    def ended(pid: int) -> bool:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"

    def kill(self) -> tuple[str, str | None]:
        shutil.rmtree(self.out, ignore_errors=True)
        lines = self.settings.updates
        for _ in range(self.random.choice((1, 2))):
            after, more = self.random.randrange(lines), self.random.uniform(0, self.seconds / lines)
            pid = self.start()
            while self.reports() <= after and not self.ended(pid):
                time.sleep(0.002)
            time.sleep(more)
            os.kill(pid, signal.SIGKILL)
            self.wait(pid)
        step = load_checkpoint(self.out / NAME)["step"] if (self.out / NAME).exists() else 0
        return f"after update {step}", self.finish()

    def full(self, at: int) -> tuple[str, str | None]:
        shutil.rmtree(self.out, ignore_errors=True)
        told = self.wait(self.start(Faults(self.out, at, "full")))
        where = f"call {at} ({self.calls[at - 1]})"
        if told["code"] == 0 and self.state() == self.wanted:
            return where, None  # what was refused is not needed
        if told["code"] != 1 or "No space left" not in told["error"]:
            return where, f"code {told['code']}: {told['error']}"
        return where, self.finish()


def main() -> None:
    root, how, count, seed = Path(sys.argv[1]).resolve(), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    trials = Trials(root, seed)
    if how == "kill":
        found = [trials.kill() for _ in range(count)]
    else:
        calls = trials.calls  # the first of each kind, then others spread over the run
        chosen = list(dict.fromkeys([*map(calls.index, calls), *(i * len(calls) // count for i in range(count))]))
        found = [trials.full(1 + i) for i in chosen[:count]]
    print(json.dumps({"seconds": trials.seconds, "calls": trials.calls, "trials": found}))


if __name__ == "__main__":
    main()
