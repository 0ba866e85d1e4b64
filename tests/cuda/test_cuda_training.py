"""Training through `backend="cuda"`, asked for by name and run by the emulator: torch.compile, autocast, DDP."""

from __future__ import annotations

from pathlib import Path

from helpers import one_stage

from acdc_fast.ops.cuda.launch import Compiled


def test_compiles_in_one_graph(emulator: Compiled) -> None:
    one_stage.check_compiles("cuda")


def test_autocast(emulator: Compiled) -> None:
    one_stage.check_autocast("cuda")


def test_ddp(emulator: Compiled, tmp_path: Path) -> None:
    one_stage.check_ddp("cuda", tmp_path, emulator.library._name)
