"""Run as a program: kills and full disks at every call of a batch job; prints a JSON report. See `test_kills`.

Each trial is a forked child of this process, which itself never computes anything, so no thread is ever forked.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet  # noqa: F401
import tqdm  # noqa: F401
from helpers.faults import Faults

from acdc_fast import Model
from acdc_fast.batch.job import run_batch

PART = 3


class Trials:
    def __init__(self, root: Path, suffix: str, replaces: bool) -> None:
        """``replaces``: another job's output is already there, and this job may overwrite it."""
        self.root, self.suffix, self.replaces = root, suffix, replaces
        self.out = root / "work" / f"o{suffix}"
        self.old = root / f"old{suffix}"
        if replaces:
            self.prepare(False)
            assert self.child(Faults(self.out.parent), stages=2) == 0
            shutil.copytree(self.out.parent, self.old)
        self.prepare()
        assert self.child(Faults(self.out.parent), tell=True) == 0
        self.wanted = self.state()
        self.calls = json.loads((root / "calls.json").read_text())

    def prepare(self, replaces: bool | None = None) -> None:
        shutil.rmtree(self.out.parent, ignore_errors=True)
        if self.replaces if replaces is None else replaces:
            shutil.copytree(self.old, self.out.parent)
        else:
            self.out.parent.mkdir()

    def child(self, faults: Faults, stages: int = 1, tell: bool = False) -> int:
        """Exit code of the job in a child; 128 + signal if it was killed."""
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                faults.install()
                model = Model(self.root / "w.safetensors", resolution=32, threads=1, stages=stages)
                tally = run_batch(
                    model, str(self.root / "in"), str(self.out), part=PART, overwrite=self.replaces, note=lambda _: None
                )
                code = 0 if (tally.rows, tally.broken) == (8, 1) else 71
                if tell:
                    with open(self.root / "calls.json", "w") as file:
                        json.dump(faults.log, file)
            except OSError as error:
                code = 28 if error.errno == 28 and str(self.root) in str(error.filename) else 72
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def state(self) -> dict[str, str]:
        """Every file below the output's folder, with its digest."""
        files = sorted(p for p in self.out.parent.rglob("*"))
        return {str(p.relative_to(self.root)): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "-"
                for p in files}  # fmt: skip

    def trial(self, how: str, at: int) -> str | None:
        """What went wrong after a fault at call ``at``, or None. Every third time the second run is killed too."""
        self.prepare()
        before = self.state()
        code = self.child(Faults(self.out.parent, at, how))
        key = str(self.out.relative_to(self.root))
        if code != (28 if how == "full" else -9) and not (how == "full" and code == 0):
            return f"exit code {code}"
        if self.state().get(key) not in (before.get(key), self.wanted[key]):
            return "the output is neither the old nor the new one"
        if how != "full" and at % 3 == 0:
            self.child(Faults(self.out.parent, 1 + at * 5 % len(self.calls), "torn"))
            if self.state().get(key) not in (before.get(key), self.wanted[key]):
                return "after a second kill the output is neither the old nor the new one"
        code = self.child(Faults(self.out.parent))
        if code:
            return f"the second run ends with {code}"
        return None if self.state() == self.wanted else "the output differs from the undisturbed one, or files are left"


def main() -> None:
    root, suffix, replaces, hows = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "replaces", sys.argv[4].split(",")
    trials = Trials(root, suffix, replaces)
    faults = []
    count = 0
    for how in hows:
        for at, call in enumerate(trials.calls, 1):
            if how == "torn" and not call.startswith("write"):
                continue
            count += 1
            if wrong := trials.trial(how, at):
                faults.append(f"{how} at call {at} ({call}): {wrong}")
    print(json.dumps({"trials": count, "calls": trials.calls, "faults": faults}))


if __name__ == "__main__":
    main()
