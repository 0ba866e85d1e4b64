"""The exported model gives the network's results in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: nothing to export from")
pytest.importorskip("onnx", reason="onnx is not installed (extra [onnx])")
pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra [onnx])")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [bench])")

from helpers.small import small_network  # noqa: E402

from acdc_fast.errors import InputError  # noqa: E402
from acdc_fast.export import export_onnx, onnx_outputs  # noqa: E402


@pytest.mark.parametrize(("variant", "batch"), [("ac-dc", "dynamic"), ("ac", 1)])
def test_onnxruntime_agrees(tmp_path: Path, variant: str, batch: int | str) -> None:
    network = small_network(variant=variant, stages=2)
    export_onnx(network, tmp_path / "x.onnx", batch=batch, resolution=48)
    assert [p.name for p in tmp_path.iterdir()] == ["x.onnx"]
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"))
    names = onnx_outputs(network.config.order, network.config.has_pose)
    assert [o.name for o in session.get_outputs()] == names
    for faces in (1, 3) if batch == "dynamic" else (batch,):
        crops = torch.rand(faces, 1, 48, 48)
        got = dict(zip(names, session.run(None, {"crops": crops.numpy()}), strict=True))
        with torch.no_grad():
            expected = network(crops)
        for markup in network.config.order:
            # The contract's tolerance for any fast path, 2e-5 in crop units; float32 sums of 48² terms stay below it.
            assert np.abs(got[f"landmarks_{markup}"] - expected.landmarks[markup].numpy()).max() < 2e-5
            assert np.abs(got[f"covariance_{markup}"] - expected.covariance[markup].numpy()).max() < 2e-5
        if expected.pose is not None:
            assert np.abs(got["pose"] - expected.pose.numpy()).max() < 0.01


def test_bad_batch() -> None:
    with pytest.raises(InputError, match="'many'"):
        export_onnx(small_network(stages=1), "never.onnx", batch="many")
