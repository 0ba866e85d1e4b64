"""Children of a process that has used the detector, the engine and BLAS, or uses them at that moment, work too.

What may hang runs in a process of its own, which is given up after a time.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers.patience import PATIENCE

from acdc_fast import forks

PHOTO = Path(__file__).parent.parent / "examples" / "astronaut.jpg"

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

# The parent's model has two threads and has found and aligned a face. `check` aligns and compares every number.
BEGINNING = f"""
import os, sys, threading, time, warnings
import numpy as np
from PIL import Image
from acdc_fast import Model

warnings.simplefilter("ignore", DeprecationWarning)
photo = np.asarray(Image.open({str(PHOTO)!r}).convert("RGB"))

def check(_=0):
    faces = model.align(photo)
    return len(faces) == 1 and all(np.array_equal(faces.landmarks[m], first.landmarks[m]) for m in first.landmarks)

model = Model.from_pretrained("acdc-w16-fast", stages=1, threads=2)
first = model.align(photo)
"""

FORKS = """
if "busy" in sys.argv[1]:
    def work():
        while True: model.align(photo)
    for _ in range(3): threading.Thread(target=work, daemon=True).start()
    time.sleep(0.5)
for _ in range(6):
    child = os.fork()
    if not child: os._exit(0 if check() else 3)
    if os.waitpid(child, 0)[1]: os._exit(4)
os._exit(0)
"""

POOLS = """
import multiprocessing
if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        assert all(pool.map(check, range(6)))
"""

LOADER = """
from torch.utils.data import DataLoader, Dataset
class Photos(Dataset):
    def __len__(self): return 6
    def __getitem__(self, i): return check()
for batch in DataLoader(Photos(), batch_size=2, num_workers=2, multiprocessing_context="fork"): assert all(batch)
"""


def run(script: str, way: str, tmp_path: Path, before: str = "") -> None:
    path = tmp_path / "script.py"
    path.write_text(before + BEGINNING + script)
    command = [sys.executable, str(path), way]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            _, told = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the children that hang
            raise
    assert process.returncode == 0, told


@pytest.mark.parametrize("way", ["idle", "busy"])
def test_forked_children_find_and_align(way: str, tmp_path: Path) -> None:
    run(FORKS, way, tmp_path)


@pytest.mark.parametrize("way", ["fork", "forkserver", "spawn"])
def test_pools_of_processes(way: str, tmp_path: Path) -> None:
    run(POOLS, way, tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_torch_workers_and_a_parent_that_computed_with_torch(tmp_path: Path) -> None:
    """torch brings its own OpenMP, with its own threads, for the whole process."""
    computed = (
        "import torch\ntorch.set_num_threads(2)\n(torch.randn(500, 500) @ torch.randn(500, 500)).exp().cumsum(0)\n"
    )
    run(LOADER, "loader", tmp_path, computed)
    run(FORKS, "idle", tmp_path, computed)


def test_a_fork_waits_for_computations() -> None:
    entered, events = threading.Event(), []

    def compute() -> None:
        with forks.held_off():
            entered.set()
            time.sleep(0.3)
            events.append("computed")

    thread = threading.Thread(target=compute)
    thread.start()
    entered.wait()
    child = os.fork()
    if not child:
        with forks.held_off():
            os._exit(0)
    events.append("forked")
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert events == ["computed", "forked"]


def test_a_fork_inside_a_computation_of_the_same_thread() -> None:
    with forks.held_off(), forks.held_off():
        child = os.fork()
        if not child:
            with forks.held_off():
                os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert not forks._inside


def test_computations_go_on_after_a_fork() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    done: list[bool] = []

    def compute() -> None:
        with forks.held_off():
            done.append(True)

    thread = threading.Thread(target=compute, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert done
