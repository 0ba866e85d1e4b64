"""The choice of a backend, and the errors of the ops for arguments that do not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.op_cases import geometry_case, small_cases
from helpers.small import small_weights

from acdc_fast import Model, ops
from acdc_fast.detector.engine import library
from acdc_fast.errors import BackendUnavailable, InputError
from acdc_fast.ops import backends

LOGITS = torch.randn(1, 2, 3, 4)


def test_auto_takes_the_native_op_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACDC_BACKEND", raising=False)
    for op in small_cases():
        assert backends.choose(op, None, "cpu", torch.float32) == "native"
        assert backends.choose(op, "auto", "cpu", torch.bfloat16) == "native"
        assert backends.choose(op, "auto", "cpu", torch.float64) == "reference"


def test_environment_sets_the_default_and_an_argument_overrides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACDC_BACKEND", "reference")
    assert backends.choose("spatial_softmax", None, "cpu", torch.float32) == "reference"
    assert backends.choose("spatial_softmax", "native", "cpu", torch.float32) == "native"
    monkeypatch.setenv("ACDC_BACKEND", "fastest")
    with pytest.raises(ValueError, match="ACDC_BACKEND=fastest: unknown backend; known: auto, reference, native"):
        ops.spatial_softmax(LOGITS)


def test_a_named_backend_that_cannot_serve_says_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendUnavailable, match=r"'native' cannot serve attention_mask on cpu.*float64.*'reference'"):
        ops.attention_mask(LOGITS.double(), backend="native")
    with pytest.raises(BackendUnavailable, match="backend='cuda' cannot serve spatial_softmax on cpu"):
        ops.spatial_softmax(LOGITS, backend="cuda")
    monkeypatch.setenv("ACDC_BACKEND", "native")
    with pytest.raises(BackendUnavailable, match="ACDC_BACKEND=native cannot serve"):
        ops.attention_mask(LOGITS.double())
    monkeypatch.setenv("ACDC_ISA", "avx1024")
    with pytest.raises(BackendUnavailable, match=r"avx1024.*avx512, avx2, neon, scalar"):
        ops.spatial_softmax(LOGITS)


@pytest.mark.parametrize(("text", "warns"), [("import no_such_library", False), ("raise ImportError('torn')", True)])
def test_import_errors_reach_the_user(
    text: str, warns: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """The error names a backend that is missing or broken. For a broken one "auto" warns too."""
    name = f"broken_backend_{warns}"
    (tmp_path / f"{name}.py").write_text(text + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(backends._MODULES, "native", name)
    with pytest.raises(BackendUnavailable, match=r"(no_such_library|torn).*pip install"):
        backends.choose("spatial_softmax", "native", "cpu", torch.float32)
    assert backends.choose("spatial_softmax", "auto", "cpu", torch.float32) == "reference"
    assert any("torn" in str(w.message) for w in recwarn) == warns
    assert "available" not in backends.report()["native"]


def test_an_older_native_library_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    from acdc_fast import _native

    monkeypatch.setattr(_native, "bindings", "those of yesterday")
    with pytest.raises(BackendUnavailable, match="older version; build it again"):
        ops.spatial_softmax(LOGITS, backend="native")
    with pytest.raises(BackendUnavailable, match=r"backend 'native'.*older version; build it again"):
        Model(small_weights(stages=1), backend="native")
    with pytest.raises(BackendUnavailable, match=r"detector 'own'.*older version; build it again"):
        library()


def test_importing_the_ops_imports_no_backend() -> None:
    code = (
        "import sys, torch; before = set(sys.modules); import acdc_fast.ops; new = set(sys.modules) - before;"
        "print([m for m in new if m.split('.')[0] in ('triton', 'cupy', 'numba') or m.startswith('acdc_fast.kernels')"
        " or m in ('acdc_fast._native', 'acdc_fast.ops.native', 'acdc_fast.ops.cuda')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


FUSION = {
    "image": torch.rand(2, 1, 4, 5),
    "embedding": torch.randn(2, 3, 4, 5),
    "mask": torch.rand(2, 1, 4, 5),
    "excitation": torch.rand(2, 8),
    "weight": torch.randn(6, 8),
    "bias": torch.randn(6),
}


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (r"embedding must have shape \(B, C, H, W\), not \(3, 4, 5\)", {"embedding": torch.randn(3, 4, 5)}),
        (r"embedding is empty", {"embedding": torch.randn(0, 3, 4, 5)}),
        (r"embedding must be float16, .* not torch.int64", {"embedding": torch.ones(2, 3, 4, 5, dtype=torch.int64)}),
        (r"image must have shape \(2, 1, 4, 5\), not \(1, 1, 4, 5\)", {"image": torch.rand(1, 1, 4, 5)}),
        (r"mask must have shape \(2, 1, 4, 5\), not \(2, 1, 5, 4\)", {"mask": torch.rand(2, 1, 5, 4)}),
        (r"excitation must have shape \(2, 8\), not \(2, 7\)", {"excitation": torch.rand(2, 7)}),
        (r"weight must have shape \(O, 8\), not \(6, 8, 1, 1\)", {"weight": torch.rand(6, 8, 1, 1)}),
        (r"bias must have shape \(6,\), not \(5,\)", {"bias": torch.rand(5)}),
        (r"mask is on meta, but embedding is on cpu", {"mask": torch.rand(2, 1, 4, 5, device="meta")}),
        (r"bias must be a tensor, not NoneType", {"bias": None}),
    ],
)
def test_fusion_names_the_argument_that_does_not_fit(message: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"dual_fusion_conv1x1: {message}"):
        ops.dual_fusion_conv1x1(**{**FUSION, **changes})


def test_geometry_transfer_names_the_argument_that_does_not_fit() -> None:
    case = geometry_case(1, 5, 4, 6, 7, 3, 2)
    embedding, depthwise, transfer = case.tensors
    flags = case.plain[1]
    with pytest.raises(InputError, match="transfer reads 4 channels, but embedding has 3"):
        ops.geometry_transfer(embedding[:, :3], depthwise, transfer, 3, flags)
    with pytest.raises(InputError, match=r"depthwise must have shape \(1, 4, 3, 3\), not \(2, 4, 3, 3\)"):
        ops.geometry_transfer(embedding, depthwise, transfer, 5, flags)
    with pytest.raises(InputError, match=r"split must lie in 0..5, .* not 6"):
        ops.geometry_transfer(embedding, depthwise, transfer, 6, flags)
    for wrong in (flags[:4], [False] * 5):
        with pytest.raises(InputError, match="masked must hold 5 flags"):
            ops.geometry_transfer(embedding, depthwise, transfer, 3, wrong)
