"""Parametrised tests shrink silently without a backend or a data set. These tests fail instead."""

from __future__ import annotations

import os

import pytest
from helpers.present import CHECKS, missing


def test_what_is_expected_is_present() -> None:
    if "ACDC_EXPECT" not in os.environ:
        pytest.skip(f"ACDC_EXPECT is not set: a list of what must be here, of {', '.join(CHECKS)}")
    assert missing(os.environ["ACDC_EXPECT"]) == {}


def test_what_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("ACDC_DATA_ROOT", "/nowhere/at/all")
    monkeypatch.setenv("ACDC_EMULATE", "none")
    told = missing("native, emulator,data, cuda12, instruction-sets")
    assert set(told) == {"emulator", "data", "cuda12", "instruction-sets"}
    assert "g++" in told["emulator"] and "/nowhere/at/all" in told["data"] and "native" in told["cuda12"]
