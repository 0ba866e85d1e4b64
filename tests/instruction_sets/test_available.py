"""The instruction sets that the native library offers are those that this CPU has, and the best is the default."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest
from helpers.present import cpu_flags, expected_isas

from acdc_fast.engines.native import native_library

native = native_library()
pytestmark = pytest.mark.skipif(
    not cpu_flags() or platform.machine() not in ("x86_64", "aarch64"), reason="/proc/cpuinfo does not tell of this CPU"
)


def test_all_that_the_cpu_has_are_offered_best_first() -> None:
    assert native.available_isas() == expected_isas()


def test_the_best_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACDC_ISA", raising=False)
    assert native.isa() == expected_isas()[0]
    clean = {k: v for k, v in os.environ.items() if k != "ACDC_ISA"}
    command = [sys.executable, "-c", "from acdc_fast import _native; print(_native.isa())"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean)
    assert done.stdout.strip() == expected_isas()[0]


def test_bfloat16_where_the_cpu_has_it() -> None:
    flags = cpu_flags()
    needs = {
        "avx512amx": "amx_bf16", "avx512bf16": "avx512_bf16", "avx512amx-emulated": "avx512bw",
        "avx512bf16-emulated": "avx512bw",
    }  # fmt: skip
    granted = platform.machine() == "x86_64" and ctypes.CDLL(None).syscall(158, 0x1023, 18) == 0  # as dispatch asks
    wanted = [name for name, flag in needs.items() if flag in flags and (granted or name != "avx512amx")]
    assert native.bf16_isas() == wanted
