"""Runs a command in this process, or as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.patience import PATIENCE

from acdc_fast.commands import cli


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = cli.main([str(a) for a in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def process(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "acdc_fast.commands.cli", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, **options
    )
