"""The exported detector gives the engine's raw outputs, for pictures of any size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: nothing to export from")
pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra [onnx])")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [bench])")

from acdc_fast.detector import pyramid  # noqa: E402
from acdc_fast.export.detector import export_detector  # noqa: E402
from acdc_fast.export.recipes import detector_recipe  # noqa: E402


def test_equals_the_engine(tmp_path: Path) -> None:
    """To 1e-4: sums of at most 160 products in float32, values up to about 10, in another order."""
    outputs = export_detector(tmp_path / "detector.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "detector.onnx"), providers=["CPUExecutionProvider"])
    assert outputs == [output.name for output in session.get_outputs()]
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["detector"]) == detector_recipe() and facts["licence_of_weights"]
    rng = np.random.default_rng(0)
    for height, width in ((32, 32), (97, 161), (240, 320), (33, 200), (255, 63)):
        grey = rng.integers(0, 256, (height, width)).astype(np.uint8)
        expected = pyramid.bundled().outputs(grey)
        got = session.run(None, {"grey": grey[None, None].astype(np.float32)})
        assert len(got) == len(expected) and np.abs(expected[0]).max() > 1
        for mine, its in zip(got, expected, strict=True):
            assert mine.shape[1:] == its.shape and np.abs(mine[0] - its).max() < 1e-4
