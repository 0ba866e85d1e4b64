"""Training in several processes, and what signals do to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.faces import SETTINGS
from helpers.patience import PATIENCE
from helpers.small_training import command, environment, free_port, losses

from acdc_fast.stopping import StopRequests
from acdc_fast.training.loop.checkpoint import NAME, load_checkpoint
from acdc_fast.training.loop.progress import read_history
from acdc_fast.training.loop.train import train
from acdc_fast.training.settings import read_settings


@pytest.mark.parametrize("whole", [False, True], ids=["alone", "whole group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_end(root: Path, tmp_path: Path, number: signal.Signals, whole: bool) -> None:
    """To the process alone, and to its group, the workers that load data among them, as a terminal and `timeout` do."""
    settings = SETTINGS.replace("updates: 4", "updates: 4000").replace("minutes: 0", "minutes: 60")
    (tmp_path / "long.yaml").write_text(settings.replace("workers: 0", "workers: 2"))
    arguments = command(root, tmp_path / "out")
    arguments[arguments.index("--config") + 1] = str(tmp_path / "long.yaml")
    process = subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True)
    while len(losses(tmp_path / "out")) < 2 and process.poll() is None:
        time.sleep(0.05)
    (os.killpg if whole else os.kill)(process.pid, number)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, told
    step = load_checkpoint(tmp_path / "out" / NAME)["step"]
    assert f"stopped after update {step}; --resume" in told
    assert step == losses(tmp_path / "out")[-1][0]


def test_requests_to_stop_are_heard_though_somebody_took_the_handlers() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequests() as stops:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGTERM)
        assert not stops.received
        stops.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stops.received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == before


def test_two_processes_give_the_curve_of_one(root: Path, tmp_path: Path) -> None:
    """Gloo, batch norm over both. Float32 sums in another order give gradients that agree to 1e-5 (measured 6e-6, both
    as far from float64). Adam takes the sign even of gradients that are all rounding, so the curves
    part a little (measured 3e-4 after eight updates).

    Not with channels_last on one process: there PyTorch's own batch norm on the CPU is off by 1e-2 in these gradients.
    """
    settings = SETTINGS.replace("rate: 1e-2", "rate: 1e-3") + "channels_last: false\n"
    (root / "small.yaml").write_text(settings)
    assert train(read_settings(root / "small.yaml"), root, tmp_path / "one", device="cpu") == 0
    # An address, not a name: without a network, looking up the machine's name may hang.
    meeting = ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *meeting]
    arguments = [*launcher, *command(root, tmp_path / "two")[1:]]
    process = subprocess.Popen(
        arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        told, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.terminate()  # torchrun ends its workers
    assert process.returncode == 0, told
    one, two = (read_history(tmp_path / name) for name in ("one", "two"))
    for name in ("mtfl/loss", "mtfl/gradient"):
        assert one[0][name] == pytest.approx(two[0][name], rel=1e-5)
    one, two = (losses(tmp_path / name) for name in ("one", "two"))
    assert [step for step, _ in one] == [step for step, _ in two] == list(range(1, 9))
    assert [loss for _, loss in one] == pytest.approx([loss for _, loss in two], rel=1e-3)


def test_processes_on_their_own_meet_in_the_mean(root: Path, tmp_path: Path) -> None:
    """``local``: the two processes see different faces. After the last update both have the mean of their weights."""
    program = (
        "import sys, torch; from pathlib import Path\n"
        "from acdc_fast.training.distributed import join\n"
        "from acdc_fast.training.settings import read_settings\n"
        "from acdc_fast.training.loop.train import Batches, Run, Update, open_source\n"
        "settings, world = read_settings(Path(sys.argv[1])), join('cpu')\n"
        "run = Run(settings, world)\n"
        "update = Update(run)\n"
        "batches = Batches(settings, [open_source(s, Path(sys.argv[2])) for s in settings.databases], world)\n"
        "kept = []\n"
        "with world:\n"
        "    for step in range(4):\n"
        "        image, targets = batches[step].to(world.device)\n"
        "        update(image, targets, 'mtfl')\n"
        "        flat = [torch.cat([v.flatten() for v in n.state_dict().values() if v.is_floating_point()])\n"
        "                for n in (run.network, run.average.network)]\n"
        "        kept.append(torch.stack(flat))\n"
        "    torch.save(torch.stack(kept), f'{sys.argv[3]}.{world.rank}')\n"
    )
    settings = SETTINGS.replace(", {updates: 4, resolution: 40, batch: 2}", "")
    (root / "local.yaml").write_text(settings + "local: 2\n")
    (tmp_path / "program.py").write_text(program)
    meeting = ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *meeting]
    arguments = [*launcher, str(tmp_path / "program.py"), str(root / "local.yaml"), str(root), str(tmp_path / "kept")]
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"kept.{rank}") for rank in (0, 1))  # (updates, network and average, values)
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[2], second[2])
    assert torch.equal(first[3], second[3])
