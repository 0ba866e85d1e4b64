"""The training loop: learns, resumes bit for bit after a kill -9, stops on signals, runs on two processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.faces import SETTINGS, write_faces
from PIL import Image

from acdc_fast.bundled import bundled_path
from acdc_fast.errors import AcdcError, InputError
from acdc_fast.stopping import StopRequests
from acdc_fast.training.distributed import World
from acdc_fast.training.loop.card import validations
from acdc_fast.training.loop.checkpoint import NAME, load_checkpoint, save_checkpoint
from acdc_fast.training.loop.progress import Pace, duration, read_history
from acdc_fast.training.loop.run import Run
from acdc_fast.training.loop.train import train
from acdc_fast.training.sampling.batches import Batches, open_source
from acdc_fast.training.sampling.device_batches import DeviceBatches
from acdc_fast.training.settings import Augmentation, Settings, Source, read_settings
from acdc_fast.training.strict_yaml import build
from acdc_fast.weights import load_weights

REPOSITORY = Path(__file__).parents[2]
ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_faces(tmp_path_factory.mktemp("faces"))
    (folder / "small.yaml").write_text(SETTINGS)
    return folder


@pytest.fixture
def small(root: Path) -> Settings:
    return read_settings(root / "small.yaml")


def losses(folder: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["mtfl/loss"]) for line in read_history(folder) if "mtfl/loss" in line]


def command(root: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "acdc_fast.training.loop.train", "--config", str(root / "small.yaml"),
            "--data-root", str(root), "--out", str(out), "--device", "cpu", *more]  # fmt: skip


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1", **more}  # a crash says where


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def test_a_run_writes_weights_history_and_a_checkpoint(root: Path, small: Settings, tmp_path: Path) -> None:
    assert train(small, root, tmp_path / "a", device="cpu") == 0
    assert [step for step, _ in losses(tmp_path / "a")] == list(range(1, 9))
    found = load_weights(tmp_path / "a" / "weights.safetensors")
    assert found.config == small.network
    assert json.loads(found.card["settings"]) == small.to_dict()
    assert (found.card["resolution"], found.card["updates"], found.card["licence"]) == ("40", "8", "none")
    average = load_checkpoint(tmp_path / "a" / NAME)["average"]
    name = "unets.1.up1.0.weight"
    assert torch.equal(average[name], torch.from_numpy(found.arrays[name]))
    assert any(path.name.startswith("events.out") for path in (tmp_path / "a").iterdir())
    validated = [line for line in read_history(tmp_path / "a") if "validation/mtfl/2d5/stage2" in line]
    assert [line["step"] for line in validated] == [4, 8]
    with pytest.raises(InputError, match="--resume"):
        train(small, root, tmp_path / "a", device="cpu")


def test_a_run_can_end_early_and_go_on(root: Path, small: Settings, tmp_path: Path) -> None:
    assert train(small, root, tmp_path / "a", until=3, device="cpu") == 0
    assert load_weights(tmp_path / "a" / "weights.safetensors").card["updates"] == "3"
    assert train(small, root, tmp_path / "a", resume=True, device="cpu") == 0
    assert train(small, root, tmp_path / "whole", device="cpu") == 0
    assert losses(tmp_path / "a") == losses(tmp_path / "whole")


def test_it_learns(root: Path, tmp_path: Path) -> None:
    values = {
        "network": {"width": 8, "stages": 1, "variant": "ac", "markups": ["2d5"]},
        "databases": [{"name": "mtfl"}],
        "phases": [{"updates": 150, "resolution": 32, "batch": 4}],
        "optimiser": {"rate": 0.01, "clip": 1.0},
        "augment": {"rotation": 0, "occluder": 0, "mirror": 0},
        "workers": 0,
        "log_every": 10,
    }
    assert train(build(Settings, values, "here"), root, tmp_path, device="cpu") == 0
    curve = [loss for _, loss in losses(tmp_path)]
    assert curve[-1] < 0.5 * curve[0], curve


def test_resume_is_exact_after_a_kill_while_writing(root: Path, small: Settings, tmp_path: Path) -> None:
    """The process dies with half of its fourth checkpoint written; the third is whole and goes on bit for bit."""
    assert train(small, root, tmp_path / "whole", device="cpu") == 0
    script = f"""
import io, os, signal, sys
import torch
from acdc_fast.training.loop import checkpoint, train
calls, save = [], torch.save
def dying_save(state, file):
    calls.append(1)
    if len(calls) < 4:
        return save(state, file)
    buffer = io.BytesIO()
    save(state, buffer)
    file.write(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
torch.save = dying_save
sys.argv = {["train", *command(root, tmp_path / "killed")[3:]]!r}
train.main()
"""
    killed = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    folder = tmp_path / "killed"
    assert (folder / f"{NAME}.part").exists()
    assert load_checkpoint(folder / NAME)["step"] == 3
    assert len(losses(folder)) == 4  # one update more than the checkpoint holds
    assert train(small, root, folder, resume=True, device="cpu") == 0
    assert losses(folder) == losses(tmp_path / "whole")
    ours, theirs = (load_checkpoint(f / NAME) for f in (folder, tmp_path / "whole"))
    for part in ("network", "average"):
        assert all(torch.equal(ours[part][n], theirs[part][n]) for n in theirs[part])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_end(root: Path, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "long.yaml").write_text(
        SETTINGS.replace("updates: 4", "updates: 4000").replace("minutes: 0", "minutes: 60")
    )
    arguments = command(root, tmp_path / "out")
    arguments[arguments.index("--config") + 1] = str(tmp_path / "long.yaml")
    process = subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, text=True)
    while len(losses(tmp_path / "out")) < 2 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
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
        told, _ = process.communicate(timeout=180)
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
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"kept.{rank}") for rank in (0, 1))  # (updates, network and average, values)
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[2], second[2])
    assert torch.equal(first[3], second[3])


def test_workers_and_shares_see_the_same_faces(root: Path, small: Settings) -> None:
    source = [open_source(s, root) for s in small.databases]
    whole = Batches(small, source, ALONE)
    parts = [Batches(small, source, World(r, 2, ALONE.device)) for r in (0, 1)]
    with_worker = Batches(build(Settings, {**small.to_dict(), "workers": 1}, "x"), source, ALONE)
    for step, (batch, again) in enumerate(zip(whole.loader(0), with_worker.loader(0), strict=True)):
        assert torch.equal(batch.image, again.image)
        assert torch.equal(batch.image, torch.cat([p[step].image for p in parts]))
        labels = [p[step].targets.landmarks["2d5"] for p in parts]
        assert torch.equal(batch.targets.landmarks["2d5"], torch.cat(labels))
    with pytest.raises(InputError, match="cannot be shared equally by 3"):
        Batches(small, source, World(0, 3, ALONE.device))


def test_every_face_has_its_turn_once_a_sweep(root: Path, small: Settings) -> None:
    values = {**small.to_dict(), "databases": [{"name": "mtfl", "batches": 2}, {"name": "mtfl", "split": "train[:5]"}]}
    settings = build(Settings, values, "x")
    batches = Batches(settings, [open_source(s, root) for s in settings.databases], ALONE)
    assert settings.round == (0, 1, 0)
    assert [batches.faces_before(s, 0) for s in range(9)] == [0, 4, 4, 8, 12, 12, 14, 16, 16]
    assert [batches.faces_before(s, 1) for s in range(9)] == [0, 0, 4, 4, 4, 6, 6, 6, 8]
    seen = [name for s in (1, 4) for name in _names(batches, s)]
    assert sorted(seen[:5]) == sorted(f"faces/{i}.jpg" for i in range(5))  # a whole sweep before any comes twice


def test_a_source_moves_and_weighs_its_labels(root: Path, small: Settings) -> None:
    """Moved in the picture, so that a mirrored face's labels move the other way; the pictures stay."""
    changed = [{"name": "mtfl", "shift": [2.0, -1.0], "markups": {"2d5": 0.25}}]
    settings = [small, build(Settings, {**small.to_dict(), "databases": changed}, "x")]
    plain, moved = (Batches(s, [open_source(Source("mtfl"), root)], ALONE) for s in settings)
    signs = set()
    for step in range(8):
        before, after = plain[step], moved[step]
        assert torch.equal(before.image, after.image)
        labels, gap = before.targets, after.targets.landmarks["2d5"] - before.targets.landmarks["2d5"]
        assert torch.allclose(gap, gap[:, :1].expand_as(gap), atol=1e-5)  # all points of a face alike
        assert (gap.norm(dim=2) > 0.01).all()
        signs |= set((gap[:, 0, 0] > 0).tolist())
        inside = (after.targets.landmarks["2d5"] > 0.05).all() and (after.targets.landmarks["2d5"] < 0.95).all()
        if inside:
            assert torch.equal(after.targets.weights["2d5"], 0.25 * labels.weights["2d5"])
    assert signs == {True, False}


@pytest.mark.parametrize("kind", [Batches, DeviceBatches])
def test_a_source_is_augmented_its_own_way(root: Path, small: Settings, kind: type[Batches]) -> None:
    """One of two sources is moved by half of the crop, the other, by the run's settings, not at all."""
    still = dict.fromkeys((f.name for f in fields(Augmentation)), 0.0)
    sources = [{"name": "mtfl"}, {"name": "mtfl", "augment": still | {"shift": 0.5}}]
    settings = build(Settings, {**small.to_dict(), "databases": sources, "augment": still}, "x")
    assert settings.round == (0, 1)
    batches = kind(settings, [open_source(Source("mtfl"), root)] * 2, ALONE)
    middles = [batches[step].targets.landmarks["2d5"].mean(1) for step in range(6)]
    spreads = [torch.cat(middles[which::2]).std(0).mean() for which in (0, 1)]
    assert spreads[0] < 0.1 and 0.3 < spreads[1] < 0.8
    assert settings.to_dict()["databases"][0]["augment"] is None


def _names(batches: Batches, step: int) -> list[str]:
    """Faces of one batch."""
    return [batches.sources[which].annotation(index).name for which, index in batches.faces(step)]


def test_what_is_wrong_is_said(root: Path, small: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder"):
        train(small, root / "nowhere", tmp_path, device="cpu")
    with pytest.raises(InputError, match="no checkpoint there to resume from"):
        train(small, root, tmp_path, resume=True, device="cpu")
    (tmp_path / NAME).write_bytes(b"PK\x03\x04 half")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        train(small, root, tmp_path, resume=True, device="cpu")
    for split, message in (("test[9:", "a name, or a name and a range"), ("train[90:]", "no faces")):
        with pytest.raises(InputError, match=message):
            open_source(Source("mtfl", split), root)
    unknown = build(Settings, {**small.to_dict(), "databases": [{"name": "mnist"}]}, "x")
    with pytest.raises(InputError, match="unknown database 'mnist'"):
        train(unknown, root, tmp_path / "new", device="cpu")
    done = subprocess.run(command(root / "x", tmp_path), env=environment(), capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and "small.yaml: cannot be read" in done.stderr


def test_bf16_follows_float32(root: Path, small: Settings, tmp_path: Path) -> None:
    """Autocast of the convolutions: 8 bits of mantissa through 26 layers, so the first loss agrees to a few percent."""
    low = build(Settings, {**small.to_dict(), "bf16": True}, "x")
    assert train(small, root, tmp_path / "high", until=1, device="cpu") == 0
    assert train(low, root, tmp_path / "low", until=1, device="cpu") == 0
    (_, high_loss), (_, low_loss) = losses(tmp_path / "high")[0], losses(tmp_path / "low")[0]
    assert high_loss != low_loss
    assert low_loss == pytest.approx(high_loss, rel=0.03)


def test_fixed_norm_trains_all_but_means_and_variances(root: Path, small: Settings, tmp_path: Path) -> None:
    assert train(small, root, tmp_path / "a", device="cpu") == 0
    start = tmp_path / "a" / "weights.safetensors"
    fixed = build(Settings, {**small.to_dict(), "fixed_norm": True}, "x")
    assert train(fixed, root, tmp_path / "b", init=start, until=3, device="cpu") == 0
    before, after = load_weights(start).arrays, load_checkpoint(tmp_path / "b" / NAME)["network"]
    kept = {n for n, v in before.items() if torch.equal(torch.from_numpy(v), after[n])}
    assert kept == {n for n in before if n.endswith(("running_mean", "running_var"))}
    assert not after["unets.0.up1.1.num_batches_tracked"]
    with pytest.raises(InputError, match=r"fixed_norm keeps .* --init"):
        train(fixed, root, tmp_path / "c", device="cpu")


def test_held_stages_stay_and_the_rest_learns(root: Path, small: Settings, tmp_path: Path) -> None:
    """The first U-Net keeps its weights; what all stages share and the last U-Net move, as they do with none held."""
    assert train(small, root, tmp_path / "start", until=1, device="cpu") == 0
    start = tmp_path / "start" / "weights.safetensors"
    held = replace(small, held=1, fixed_norm=True)
    assert train(held, root, tmp_path / "held", init=start, device="cpu") == 0
    before, after = load_weights(start).arrays, load_weights(tmp_path / "held" / "weights.safetensors").arrays
    for name, array in after.items():
        stays = name.startswith("unets.0.") or "running" in name
        assert (array == before[name]).all() == stays, name
    assert train(held, root, tmp_path / "two", init=start, until=3, device="cpu") == 0
    assert train(held, root, tmp_path / "two", resume=True, device="cpu") == 0
    assert losses(tmp_path / "two") == losses(tmp_path / "held")


def test_a_folder_that_cannot_be_written_is_said(root: Path, small: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AcdcError, match=r"file/out: cannot be made: Not a directory"):
        train(small, root, tmp_path / "file" / "out", device="cpu")


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / NAME, {"step": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(AcdcError, match=r"No space left on device.*an earlier checkpoint"):
        save_checkpoint(tmp_path / NAME, {"step": 2})
    assert load_checkpoint(tmp_path / NAME) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == [NAME]


def test_other_architectures_are_refused_and_can_be_started_from(root: Path, small: Settings, tmp_path: Path) -> None:
    assert train(small, root, tmp_path / "a", device="cpu") == 0
    values = small.to_dict()
    values["network"]["markups"] = ["2d68", "2d5"]
    finer = build(Settings, values, "x")
    with pytest.raises(InputError, match=r"network\.markups"):
        train(finer, root, tmp_path / "a", resume=True, device="cpu")
    assert train(finer, root, tmp_path / "b", init=tmp_path / "a" / "weights.safetensors", device="cpu") == 0


def test_early_stopping_keeps_the_best_weights(root: Path, small: Settings, tmp_path: Path) -> None:
    """A rate that only does harm: no validation is better than the first, before any update."""
    from acdc_fast.training.loop import early

    wild = replace(small, optimiser=replace(small.optimiser, rate=1.0, muon_rate=None, ema=None), patience=2)
    wild = replace(wild, validate_every=1)
    assert train(wild, root, tmp_path / "a", device="cpu") == 0
    steps = [step for step, _ in validations(tmp_path / "a")]
    errors = [values["mtfl/2d5/stage2"] for _, values in validations(tmp_path / "a")]
    found = load_weights(tmp_path / "a" / "weights.safetensors")
    best = int(found.card["updates"])
    assert errors[best] == min(errors) and steps == list(range(best + 3)) and best + 2 < 8
    network = Run(wild, ALONE).network if best == 0 else None
    assert network is None or torch.equal(
        network.state_dict()["unets.1.up1.0.weight"], torch.from_numpy(found.arrays["unets.1.up1.0.weight"])
    )
    card = (tmp_path / "a" / "card.md").read_text()
    assert f"| after {best} updates (these weights) |" in card and f"after {best + 2} updates" in card
    assert f"{errors[best]:.2f}" in card and f"{errors[-1]:.2f}" in card
    # The same command again finds nothing to do, and the checkpoint knows it.
    assert train(wild, root, tmp_path / "a", resume=True, device="cpu") == 0
    assert [step for step, _ in validations(tmp_path / "a")] == steps
    assert load_weights(tmp_path / "a" / "weights.safetensors").card["updates"] == str(best)
    assert early.Best(1.0, 3, 2).enough(2) and not early.Best(1.0, 3, 2).enough(None)


def test_early_stopping_goes_on_as_if_never_cut_off(root: Path, small: Settings, tmp_path: Path) -> None:
    settings = replace(small, patience=3, validate_every=1)
    assert train(settings, root, tmp_path / "whole", device="cpu") == 0
    assert train(settings, root, tmp_path / "a", until=3, device="cpu") == 0
    kept = load_checkpoint(tmp_path / "a" / NAME)["best"]
    assert train(settings, root, tmp_path / "a", resume=True, device="cpu") == 0
    assert validations(tmp_path / "a") == validations(tmp_path / "whole")
    assert kept["step"] <= 3 and kept["error"] < 100
    one, other = (load_weights(tmp_path / name / "weights.safetensors") for name in ("a", "whole"))
    assert one.card["updates"] == other.card["updates"]
    assert all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)


def test_patience_needs_faces_that_can_be_measured(root: Path, small: Settings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="patience needs validation"):
        replace(small, patience=1, validation=())
    with pytest.raises(ValueError, match="patience must be at least 1"):
        replace(small, patience=0)
    strange = replace(small, patience=1, network=replace(small.network, markups=("2d68",)))
    with pytest.raises(InputError, match="patience: no face of the validation has labels"):
        train(strange, root, tmp_path / "a", device="cpu")


def test_a_run_shows_faces_its_pace_and_a_card(root: Path, tmp_path: Path) -> None:
    """Started from weights by name: whose they were and their terms stand in the card."""
    settings = (root / "small.yaml").read_text().replace("card: {licence: none}", "")
    settings = settings.replace(
        "width: 4, stages: 2, variant: ac, markups: [2d5]", "width: 16, markups: [2d98, 2d5, 3d68]"
    )
    (root / "tuned.yaml").write_text(
        settings.replace("updates: 4", "updates: 1").replace("validate_every: 4", "validate_every: 2")
    )
    told = subprocess.run(
        [*command(root, tmp_path / "a", "--init", "acdc-w16-fast"), "--config", str(root / "tuned.yaml")],
        capture_output=True, text=True, env=environment(), timeout=300,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    lines = told.stderr.splitlines()
    assert any(re.fullmatch(r"update 2 of 2, \S+ a second, done; loss mtfl \d\.\d{4}", line) for line in lines), lines
    assert lines[-1] == f"{tmp_path / 'a' / 'card.md'}: their card"
    pictures = sorted(p.name for p in (tmp_path / "a" / "pictures").iterdir())
    assert pictures == ["mtfl-train-000002.png"]
    shown = np.asarray(Image.open(tmp_path / "a" / "pictures" / pictures[0]))
    assert shown.shape == (2 * 2 * 40, 3 * 2 * 40, 3) and shown.std() > 10
    found = load_weights(tmp_path / "a" / "weights.safetensors")
    shipped = load_weights(bundled_path("acdc-w16-fast"))
    assert found.card["start"] == "acdc-w16-fast" and found.card["licence"] == shipped.card["licence"]
    card = (tmp_path / "a" / "card.md").read_text()
    for words in ("| started from | acdc-w16-fast |", "2d5 (5 points)", "| training | mtfl/train | 12 | 0 |",
                  "| validation | mtfl/train[:3] | 3 | 0 |", shipped.card["licence"][:40], "| mtfl/2d5 |"):  # fmt: skip
        assert words in card, card


def test_the_time_that_is_left() -> None:
    pace = Pace(10, 110, every=0.0)
    pace.before = (10, time.monotonic() - 20)
    line = pace.line(20, {"csv": 0.01234})
    assert line is not None and re.fullmatch(r"update 20 of 110, 0\.5 a second, 3 min left; loss csv 0\.0123", line)
    pace.every = 1000.0
    assert pace.line(30, {}) is None and pace.line(110, {"csv": 1.0}) is not None
    assert [duration(s) for s in (40, 89, 95, 700, 7500)] == ["40 s", "89 s", "2 min", "12 min", "2 h 05 min"]
