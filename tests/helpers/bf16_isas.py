"""Instruction sets that serve bfloat16, and those of them that can run here."""

from __future__ import annotations

import pytest

from acdc_fast.engines.native import native_library

REAL, EMULATED = "avx512bf16", "avx512bf16-emulated"
AMX, AMX_EMULATED = "avx512amx", "avx512amx-emulated"
ISAS = native_library().bf16_isas()
TILED = [isa for isa in ISAS if isa in (AMX, AMX_EMULATED)]

needs_avx512 = pytest.mark.skipif(not ISAS, reason="needs AVX-512, if only to emulate AVX512-BF16 on it")
each_isa = pytest.mark.parametrize("isa", ISAS or [pytest.param("", marks=needs_avx512)])
