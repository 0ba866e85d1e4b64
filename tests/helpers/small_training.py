"""A training small enough for tests: its command, its environment, the losses that it wrote."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import torch

from acdc_fast.training.distributed import World
from acdc_fast.training.loop.progress import read_history

#: One process on the CPU.
ALONE = World(0, 1, torch.device("cpu"))


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
