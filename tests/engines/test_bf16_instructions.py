"""The instructions of bfloat16 (AVX512-BF16, AMX) and their emulation, against a model of them in rational numbers; and
the machine code that the compiler makes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.bf16_isas import AMX, AMX_EMULATED, EMULATED, REAL, TILED, each_isa, needs_avx512
from helpers.paths import ROOT
from test_symbols import FLAGS, INCLUDES, SOURCE, foreign_symbols

from acdc_fast.engines.native import native_library

native = native_library()
SOURCES = ("csrc/cpu/dispatch/bf16_table.cpp", "csrc/cpu/engine/conv.cpp")


def to_float32(x: Fraction) -> np.float32:
    """To nearest, ties to even, denormals to zero."""
    if not x:
        return np.float32(0)
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
    while abs(x) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - 23)
    rounded = round(x / unit) * unit
    return np.float32(0) if abs(rounded) < Fraction(2) ** -126 else np.float32(float(rounded))


def value(bits: int) -> Fraction:
    """A finite bfloat16 number; denormals are zero."""
    x = np.array([bits << 16], np.uint32).view(np.float32)[0]
    return Fraction(0) if bits & 0x7F80 == 0 else Fraction(float(x))


def modelled_dot(total: np.float32, a: np.ndarray, b: np.ndarray) -> np.float32:
    start = Fraction(0) if abs(total) < np.float32(2.0**-126) else Fraction(float(total))
    odd = to_float32(start + value(int(a[1])) * value(int(b[1])))
    return to_float32(Fraction(float(odd)) + value(int(a[0])) * value(int(b[0])))


def halves(x: Any) -> np.ndarray:
    return torch.as_tensor(np.asarray(x, np.float32)).bfloat16().view(torch.int16).numpy().view(np.uint16)


@each_isa
def test_dot_is_the_instruction(isa: str) -> None:
    rng = np.random.default_rng(0)
    n = 1600
    a, b = (halves(rng.standard_normal((n, 2)) * 2.0 ** rng.integers(-9, 9, (n, 2))) for _ in range(2))
    total = (rng.standard_normal(n) * 2.0 ** rng.integers(-20, 20, n)).astype(np.float32)
    a[:80], b[:80] = halves(rng.standard_normal((80, 2)) * 2.0**-66), halves(rng.standard_normal((80, 2)) * 2.0**-62)
    total[:80] *= np.float32(2.0**-120)  # sums about the least normal number
    a[80:120] = rng.integers(1, 0x80, (40, 2))  # denormal factors
    total[120:160] = np.float32(1e-40)  # and sums
    total[160:176], a[160:176], b[160:176] = 1, halves([2.0**24, 1]), halves([1, 1])
    got = native.bf16_dot(total, a, b, isa)
    wanted = np.array([modelled_dot(*each) for each in zip(total, a, b, strict=True)])
    np.testing.assert_array_equal(got, wanted)
    assert got[160] == 2**24 + 2  # even first, 1 + 2²⁴ would have lost the one


def modelled_tile(a: np.ndarray, b: np.ndarray) -> np.float32:
    """One sum of a tile's product that begins at zero: even and odd products apart, by multiply-adds, then together."""
    even = odd = Fraction(0)
    for left, right in zip(a, b, strict=True):
        even = Fraction(float(to_float32(even + value(int(left[0])) * value(int(right[0])))))
        odd = Fraction(float(to_float32(odd + value(int(left[1])) * value(int(right[1])))))
    return to_float32(even + odd)


@pytest.mark.parametrize("isa", TILED or [pytest.param("", marks=needs_avx512)])
@pytest.mark.parametrize(("rows", "inner"), [(16, 32), (16, 16), (1, 32), (5, 16)])
def test_a_product_of_tiles_is_the_instruction(rows: int, inner: int, isa: str) -> None:
    rng = np.random.default_rng(rows + inner)
    a = halves(rng.standard_normal((rows, inner)) * 2.0 ** rng.integers(-9, 9, (rows, inner)))
    b = halves(rng.standard_normal((inner // 2, 16, 2)) * 2.0 ** rng.integers(-9, 9, (inner // 2, 16, 2)))
    a[0], b[:, 0] = (
        halves(rng.standard_normal(inner) * 2.0**-66),
        halves(rng.standard_normal((inner // 2, 2)) * 2.0**-62),
    )
    a[-1, :2] = 0x41  # denormal factors
    got = native.bf16_tile(a, b, isa)
    pairs = a.reshape(rows, -1, 2)
    wanted = [[modelled_tile(pairs[i], b[:, j]) for j in range(16)] for i in range(rows)]
    np.testing.assert_array_equal(got, np.array(wanted, np.float32))


@each_isa
def test_rounding(isa: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2**32, 160_000, dtype=np.uint32)
    x[:64] = [0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x7F7FFFFF, 0xFF7FFFFF, 0x00800000, 0x807FFFFF] * 8
    got, wanted = native.bf16_round(x.view(np.float32), isa), halves(x.view(np.float32))
    number, tiny = ~np.isnan(x.view(np.float32)), (x & 0x7F800000) == 0
    wanted[tiny] &= 0x8000
    np.testing.assert_array_equal(got[number], wanted[number])
    assert ((got[~number] & 0x7F80) == 0x7F80).all() and (got[~number] & 0x7F).all()


# The machine code.

#: EVEX.512.F3.0F38.W0 52: the prefix (opcode map; width and F3; no register mask), then the opcode.
VDPBF16PS = re.compile(
    rb"\x62[\x02\x12\x22\x32\x42\x52\x62\x72\x82\x92\xa2\xb2\xc2\xd2\xe2\xf2]"
    rb"[\x06\x0e\x16\x1e\x26\x2e\x36\x3e\x46\x4e\x56\x5e\x66\x6e\x76\x7e][\x40\x48\x50\x58]\x52"
)


def dot_instructions(library: Path) -> int:
    """Instructions vdpbf16ps on whole registers: from objdump, or found by their bytes."""
    if objdump := shutil.which("objdump"):
        listing = subprocess.run([objdump, "-d", str(library)], capture_output=True, text=True, check=True).stdout
        return len(re.findall(r"vdpbf16ps .*%zmm", listing))
    return len(VDPBF16PS.findall(library.read_bytes()))


@needs_avx512
def test_the_library_holds_the_instruction() -> None:
    library = Path(native.__file__)
    # A step of the 14 × 2 register tile alone has 28, and smaller tiles follow it.
    assert dot_instructions(library) >= 100
    if shutil.which("objdump"):
        assert len(VDPBF16PS.findall(library.read_bytes())) >= dot_instructions(library)


@pytest.mark.skipif(not SOURCE.exists(), reason="needs the C++ sources")
@pytest.mark.parametrize("isa", [REAL, EMULATED, AMX, AMX_EMULATED])
@needs_avx512
def test_no_symbols_outside_the_namespace(isa: str, tmp_path: Path) -> None:
    compiler, nm = os.environ.get("CXX") or shutil.which("c++"), shutil.which("nm")
    if not compiler or not nm:
        pytest.skip("needs a C++ compiler and nm")
    namespace = isa.replace("-", "_")
    defines = [f"-DACDC_ISA_{name.upper()}" for name in ("avx512", REAL, *([AMX] if AMX in isa else []), namespace)]
    own = {REAL: ["-mavx512bf16"], AMX: ["-mavx512bf16", "-mamx-tile", "-mamx-bf16"]}.get(isa, [])
    flags = [*FLAGS["avx512"], *own, *dict.fromkeys(defines), *INCLUDES]
    for source in SOURCES:
        output = tmp_path / f"{Path(source).name}.o"
        command = [*compiler.split(), "-std=c++17", "-O1", "-fPIC", *flags, "-c", str(ROOT / source)]
        subprocess.run([*command, "-o", str(output)], check=True)
        listing = subprocess.run([nm, "--defined-only", str(output)], capture_output=True, text=True, check=True).stdout
        assert foreign_symbols(listing, namespace) == []
        assert f"4acdc{len(namespace)}{namespace}" in listing


def test_symbols_of_the_build_are_those_tested() -> None:
    text = (ROOT / "CMakeLists.txt").read_text().split("set(ACDC_BF16_SOURCES", 1)[1].split(")", 1)[0]
    assert set(text.split()) == set(SOURCES)
