"""Without Triton or a driver nothing fails before the first kernel. The error then names the remedy."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

ASK = """
import sys
{hide}
import torch, acdc_fast.kernels
from acdc_fast import BackendUnavailable, ops
assert ops.spatial_softmax(torch.zeros(1, 1, 2, 2)).peak.item() == 0.25
try:
    ops.spatial_softmax(torch.zeros(1, 1, 2, 2), backend="triton")
except BackendUnavailable as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("hide", "remedy"),
    [("sys.modules['triton'] = None", "pip install triton"), ("", "TRITON_INTERPRET=1")],
    ids=["no Triton", "no GPU"],
)
def test_the_remedy_is_named(hide: str, remedy: str) -> None:
    if not hide:
        pytest.importorskip("triton", reason="Triton is not installed")
        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", ASK.format(hide=hide)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr[-1500:]
    assert "triton" in run.stdout and remedy in run.stdout
