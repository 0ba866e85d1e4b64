"""A stage of the one-pass kernels moves at most 3.6 times the embedding (width 64, half precision, 128²)."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")
if torch.cuda.is_available():
    pytest.skip("bytes are counted in Triton's interpreter, which is off where there is a GPU", allow_module_level=True)
sys.path.insert(0, str(Path(__file__).parent))
from traffic import counted

from acdc_fast.kernels import cascade_transition, configs, geometry_transfer

WIDTH, SIDE, MAPS, SPLIT, INPUTS = 64, 128, 239, 171, 48


def test_bytes_of_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("geometry_transfer", "cascade_transition"):  # larger blocks interpret faster and move the same bytes
        larger = dataclasses.replace(configs.HALF[name], pixels=128, maps=256)
        monkeypatch.setitem(configs.TABLE["sm_80"][0], name, larger)
    for module in (geometry_transfer, cascade_transition):  # products in float16, as on a GPU
        monkeypatch.setattr(module, "dot_dtype", lambda x: x.dtype)
    torch.manual_seed(0)
    embedding = torch.randn(1, WIDTH, SIDE, SIDE).half().contiguous(memory_format=torch.channels_last)
    image, excitation = torch.rand(1, 1, SIDE, SIDE).half(), torch.rand(1, 2 + 2 * WIDTH)
    layers = geometry_transfer.pack(torch.randn(2, INPUTS, 3, 3), torch.randn(MAPS, INPUTS), SPLIT, embedding)
    stem, bias = torch.randn(2 + 2 * WIDTH, WIDTH), torch.randn(WIDTH)
    with counted() as first:
        *_, high, low = geometry_transfer.statistics(embedding, layers, places=False)
    with counted() as second:
        cascade_transition.transition(embedding, layers, high, low, image, excitation, stem, bias, mask=False)
    size = embedding.numel() * 2
    moved = [t.bytes(way) / size for t in (first, second) for way in ("load", "store")]
    print("\n× H: statistics read {:.3f}, written {:.3f}; transition {:.3f}, {:.3f}".format(*moved))
    assert moved[0] > 1 and moved[2] > 1 and moved[3] == 1  # every pixel is read, every output written once
    assert sum(moved) <= 3.6
