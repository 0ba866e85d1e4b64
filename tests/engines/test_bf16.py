"""The native engine in bfloat16, on the instructions that this CPU has (AVX512-BF16, AMX) and on their emulation on any
AVX-512.

Its error against float64 may be twice that of the eager network in bfloat16 (autocast), in root mean square over the
landmarks of a stage: the worst of two runs cannot be compared.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.nets import arrays, crops, lively
from test_native import HOSTILE, eager, errors, rms
from test_native_robust import same_bits
from test_symbols import FLAGS, INCLUDES, SOURCE, foreign_symbols

from acdc_fast import ACDC, Model
from acdc_fast.engines.eager import EagerEngine
from acdc_fast.engines.native import NativeEngine, native_library
from acdc_fast.errors import BackendUnavailable, InputError
from acdc_fast.photo.coordinates import square_from_box
from acdc_fast.photo.crops import crop_faces
from acdc_fast.photo.images import load_picture

native = native_library()
REAL, EMULATED = "avx512bf16", "avx512bf16-emulated"
AMX, AMX_EMULATED = "avx512amx", "avx512amx-emulated"
ISAS = native.bf16_isas()
TILED = [isa for isa in ISAS if isa in (AMX, AMX_EMULATED)]
ROOT = Path(__file__).parents[2]
SOURCES = ("csrc/cpu/dispatch/bf16_table.cpp", "csrc/cpu/engine/conv.cpp")

needs_avx512 = pytest.mark.skipif(not ISAS, reason="needs AVX-512, if only to emulate AVX512-BF16 on it")
each_isa = pytest.mark.parametrize("isa", ISAS or [pytest.param("", marks=needs_avx512)])


def engine(network: ACDC, isa: str, **options: Any) -> NativeEngine:
    return NativeEngine(network.config, arrays(network), dtype="bfloat16", isa=isa, **options)


#: Results of the eager network in bfloat16 and in float64, by a digest of weights and crops: each instruction set is
#: compared with the same ones, and they take most of the time.
known: dict[str, tuple[Any, Any]] = {}


def check(network: ACDC, x: np.ndarray, isa: str) -> None:
    """Every stage within twice the error of eager bfloat16, and no NaN anywhere."""
    got = engine(network, isa)(x, all_stages=True).stages
    held = arrays(network)
    key = hashlib.sha256(b"".join([str(network.config).encode(), x.tobytes(), *(a.tobytes() for a in held.values())]))
    if key.hexdigest() not in known:
        half = EagerEngine(network.config, held, dtype="bfloat16")(x, all_stages=True).stages
        known[key.hexdigest()] = half, eager(network, x)
    assert got is not None
    for stage, (ours, plain, exact) in enumerate(zip(got, *known[key.hexdigest()], strict=True)):
        mine, theirs = errors(ours, exact, rms), errors(plain, exact, rms)
        for name in ("landmarks", "covariance"):
            # 1e-7: on constant maps both are as exact as float32, and their ratio means nothing.
            assert mine[name] <= 2 * theirs[name] + 1e-7, (name, stage, mine[name], theirs[name])


# The instruction, against a model of it in rational numbers.


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


@pytest.mark.skipif(AMX not in ISAS, reason="this CPU has no AMX, or the system does not grant it")
@pytest.mark.parametrize(("width", "side"), [(4, 40), (16, 88), (48, 32), (64, 40)])
def test_amx_gives_the_bits_of_its_emulation(width: int, side: int) -> None:
    network, x = lively(width=width, stages=2), crops(2, side)
    same_bits(engine(network, AMX)(x), engine(network, AMX_EMULATED)(x))


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


# The engine.


@each_isa
@pytest.mark.parametrize(("width", "side"), [(4, 40), (8, 32), (12, 88), (16, 64), (20, 48), (32, 40), (64, 32)])
def test_error(width: int, side: int, isa: str) -> None:
    check(lively(width=width), crops(3, side), isa)


@each_isa
@pytest.mark.parametrize(
    "config",
    [{"variant": "ac"}, {"variant": "ac+pose"}, {"markups": ("2d68",), "variant": "ac"}, {"stream_fraction": 1.0}],
    ids=str,
)
def test_variants(config: dict[str, Any], isa: str) -> None:
    check(lively(width=16, stages=2, **config), crops(4, 32), isa)


@each_isa
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_weights(kind: str, isa: str) -> None:
    network = lively(width=16, stages=2)
    with torch.no_grad():
        HOSTILE[kind](network)
    check(network, crops(6), isa)


def faces(side: int) -> np.ndarray:
    """The face of the example picture, in twelve squares around it."""
    picture, rng = load_picture(ROOT / "examples" / "astronaut.jpg"), np.random.default_rng(0)
    boxes = np.float32([[172, 62, 276, 200]]) + rng.uniform(-12, 12, (12, 4)).astype(np.float32)
    return crop_faces(picture.rgb, square_from_box(boxes), side)


@each_isa
def test_error_of_the_shipped_weights(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACDC_ISA", isa)
    model = Model.from_pretrained(backend="native", dtype="bfloat16")
    assert isinstance(model.engine, NativeEngine) and model.engine.isa == isa
    network = ACDC(model.config).eval()
    network.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in model.weights.arrays.items()}, strict=False)
    check(network, faces(model.resolution), isa)


@each_isa
def test_a_fault_is_seen(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acdc_fast.engines.common.BATCH_NORM_EPSILON", 0.03)
    with pytest.raises(AssertionError, match="landmarks"):
        check(lively(width=16), crops(3), isa)


@each_isa
@pytest.mark.parametrize(("width", "side"), [(16, 48), (64, 40)])
def test_same_bits_for_any_threads_and_batch(width: int, side: int, isa: str) -> None:
    network, x = lively(width=width, stages=2), crops(3, side)
    alone = engine(network, isa, threads=1)
    expected = alone(x)
    for threads in (2, 3):
        same_bits(engine(network, isa, threads=threads)(x), expected)
    for i in range(3):
        one = alone(x[i : i + 1])
        np.testing.assert_array_equal(one.landmarks["2d98"][0], expected.landmarks["2d98"][i])
        np.testing.assert_array_equal(one.mask[0], expected.mask[i])


@each_isa
def test_half_the_memory(isa: str) -> None:
    network, x = lively(width=32, stages=1), crops(1, 64)
    half, whole = engine(network, isa, threads=1), NativeEngine(network.config, arrays(network), threads=1)
    half(x), whole(x)
    assert half.memory["weights"] < 0.53 * whole.memory["weights"]
    assert half.memory["arenas"] < whole.memory["arenas"]
    held = half.memory
    for _ in range(50):
        half(x)
    assert half.memory == held


@each_isa
def test_bad_crops(isa: str) -> None:
    network, x = lively(width=8, stages=1), crops(3)
    for bad in (np.nan, np.inf):
        x[1, 0, 5, 7] = bad
        with pytest.raises(InputError, match="crop 1 of the batch"):
            engine(network, isa)(x)


# Who is served, and who is not.


@pytest.mark.skipif(REAL in ISAS, reason="this CPU has AVX512-BF16, so nothing is refused")
def test_refused_without_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACDC_ISA", raising=False)
    network = lively(width=8, stages=1)
    reason = "bfloat16 with the instruction set avx512bf16, but this (CPU|build).*dtype='float32', or backend='eager'"
    for make in (lambda: engine(network, ""), lambda: Model(network, backend="native", dtype="bfloat16")):
        with pytest.raises(BackendUnavailable, match=reason):
            make()
    with pytest.raises(BackendUnavailable, match="avx512bf16, but this"):
        NativeEngine(network.config, arrays(network), isa=REAL)
    assert Model(network, device="cpu", dtype="bfloat16").backend == "eager"


@pytest.mark.parametrize("isa", ["avx512", "avx2", "scalar"])
def test_other_instruction_sets_have_no_bfloat16(isa: str) -> None:
    with pytest.raises(BackendUnavailable, match=rf"but {isa} was asked for \(ACDC_ISA or isa=\)"):
        engine(lively(width=8, stages=1), isa)


#: Whether a process has leave for the tiles (arch_prctl, ARCH_GET_XCOMP_PERM), before and after bfloat16 is wanted.
ASKED = """
import ctypes
import acdc_fast._native as native
def granted():
    held = ctypes.c_uint64()
    assert ctypes.CDLL(None).syscall(158, 0x1022, ctypes.byref(held)) == 0
    return bool(held.value >> 18 & 1)
native.isa(), native.lanes(), native.available_isas()
before = granted()
print(before, native.bf16_isas()[0], granted())
"""


@pytest.mark.skipif(AMX not in ISAS, reason="this CPU has no AMX, or the system does not grant it")
def test_the_system_is_asked_for_tiles_by_bfloat16_alone() -> None:
    """Its leave makes the process's signal frames larger, so one that computes in float32 must not ask."""
    done = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", AMX, "True"]


@needs_avx512
def test_the_emulation_is_taken_by_name_alone() -> None:
    assert EMULATED in ISAS and EMULATED not in native.available_isas()
    assert native.isa(EMULATED) == "avx512"  # what is not bfloat16 runs as ever
    network = lively(width=8, stages=1)
    same_bits(
        NativeEngine(network.config, arrays(network), isa=EMULATED)(crops()),
        NativeEngine(network.config, arrays(network), isa="avx512")(crops()),
    )
    assert engine(network, EMULATED).isa == EMULATED
    try:
        assert engine(network, "").isa == ISAS[0] != EMULATED
    except BackendUnavailable:
        assert REAL not in ISAS


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
