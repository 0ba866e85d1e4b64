"""The native engine in bfloat16, on the instructions that this CPU has (AVX512-BF16, AMX) and on their emulation on any
AVX-512.

Its error against float64 may be twice that of the eager network in bfloat16 (autocast), in root mean square over the
landmarks of a stage: the worst of two runs cannot be compared.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from helpers.bf16_isas import AMX, AMX_EMULATED, EMULATED, ISAS, REAL, each_isa, needs_avx512
from helpers.eager_results import half_and_exact
from helpers.nets import arrays, crops, lively
from helpers.paths import ROOT
from test_native import HOSTILE, errors, rms
from test_native_robust import same_bits

from acdc_fast import ACDC, Model
from acdc_fast.engines.native import NativeEngine, native_library
from acdc_fast.errors import BackendUnavailable, InputError
from acdc_fast.photo.coordinates import square_from_box
from acdc_fast.photo.crops import crop_faces
from acdc_fast.photo.images import load_picture

native = native_library()


def engine(network: ACDC, isa: str, **options: Any) -> NativeEngine:
    return NativeEngine(network.config, arrays(network), dtype="bfloat16", isa=isa, **options)


def check(network: ACDC, x: np.ndarray, isa: str) -> None:
    """Every stage within twice the error of eager bfloat16, and no NaN anywhere."""
    got = engine(network, isa)(x, all_stages=True).stages
    assert got is not None
    for stage, (ours, plain, exact) in enumerate(zip(got, *half_and_exact(network, x), strict=True)):
        mine, theirs = errors(ours, exact, rms), errors(plain, exact, rms)
        for name in ("landmarks", "covariance"):
            # 1e-7: on constant maps both are as exact as float32, and their ratio means nothing.
            assert mine[name] <= 2 * theirs[name] + 1e-7, (name, stage, mine[name], theirs[name])


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


@pytest.mark.skipif(AMX not in ISAS, reason="this CPU has no AMX, or the system does not grant it")
@pytest.mark.parametrize(("width", "side"), [(4, 40), (16, 88), (48, 32), (64, 40)])
def test_amx_gives_the_bits_of_its_emulation(width: int, side: int) -> None:
    network, x = lively(width=width, stages=2), crops(2, side)
    same_bits(engine(network, AMX)(x), engine(network, AMX_EMULATED)(x))


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
