"""The training loop: learns, resumes bit for bit after a kill -9, says what is wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.small_training import command, environment, losses

from acdc_fast.errors import AcdcError, InputError
from acdc_fast.training.loop.checkpoint import NAME, load_checkpoint, save_checkpoint
from acdc_fast.training.loop.progress import read_history
from acdc_fast.training.loop.train import train
from acdc_fast.training.sampling.batches import open_source
from acdc_fast.training.settings import Settings, Source
from acdc_fast.training.strict_yaml import build
from acdc_fast.weights import load_weights


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


def test_what_a_killed_run_had_begun_to_write_is_deleted(root: Path, small: Settings, tmp_path: Path) -> None:
    out = tmp_path / "a"
    assert train(small, root, out, until=2, device="cpu") == 0
    left = [
        out / name
        for name in (".weights-ab1_9xyz.safetensors", ".best-00000000.safetensors", ".checkpoint-a_b_c_d_.pt")
    ]
    own = [out / name for name in (".weights-mine.safetensors", "weights-ab1_9xyz.safetensors", ".notes-ab1_9xyz.txt")]
    for path in (*left, *own):
        path.write_bytes(b"begun")
    assert train(small, root, out, until=3, resume=True, device="cpu") == 0
    assert [path.name for path in left if path.exists()] == []
    assert all(path.read_bytes() == b"begun" for path in own)


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


def test_a_run_that_sees_turned_crops_reports_how_wide_its_maps_are_to_be(
    root: Path, small: Settings, tmp_path: Path
) -> None:
    """Half of the crops are turned. Their term is a part of the loss, with the weight of the settings."""
    augment, weight = replace(small.augment, turned=0.5), 2.0
    for name, loss in (("without", small.loss), ("with", replace(small.loss, wide=weight))):
        run = replace(small, augment=augment, loss=replace(loss, stages=(1.0, 1.0)))
        assert train(run, root, tmp_path / name, until=1, device="cpu") == 0
    without, line = (read_history(tmp_path / name)[0] for name in ("without", "with"))
    parts = sum(line[f"mtfl/stage{stage}/wide"] for stage in (1, 2))
    assert parts > 0 and "mtfl/stage1/wide" not in without
    assert line["mtfl/loss"] - without["mtfl/loss"] == pytest.approx(weight * parts, rel=1e-4)


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
    assert list(folder.glob(f".{Path(NAME).stem}-*{Path(NAME).suffix}"))
    assert load_checkpoint(folder / NAME)["step"] == 3
    assert len(losses(folder)) == 4  # one update more than the checkpoint holds
    assert train(small, root, folder, resume=True, device="cpu") == 0
    assert not list(folder.glob(".*"))
    assert losses(folder) == losses(tmp_path / "whole")
    ours, theirs = (load_checkpoint(f / NAME) for f in (folder, tmp_path / "whole"))
    for part in ("network", "average"):
        assert all(torch.equal(ours[part][n], theirs[part][n]) for n in theirs[part])


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
    with pytest.raises(AcdcError, match=r"file/out: cannot be made: .*file: is a file, not a folder"):
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


def test_other_architectures_are_refused_and_can_be_started_from(
    root: Path, small: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(small, root, tmp_path / "a", device="cpu") == 0
    values = small.to_dict()
    values["network"]["markups"] = ["2d68", "2d5"]
    finer = build(Settings, values, "x")
    with pytest.raises(InputError, match=r"network\.markups"):
        train(finer, root, tmp_path / "a", resume=True, device="cpu")
    capsys.readouterr()
    assert train(finer, root, tmp_path / "b", init=tmp_path / "a" / "weights.safetensors", device="cpu") == 0
    said = capsys.readouterr().err.splitlines()[0]
    assert "weights.safetensors lacks these layers, so they start at random: " in said
    assert said.split(": ")[1] == "gtn.transfer.2d5, gtn.transfer.2d68", "the five points now come from the 68"
