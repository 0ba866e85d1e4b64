"""Weights for the tests of commands."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")
    from helpers.small import small_weights

    from acdc_fast.weights import save_weights

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, small_weights(stages=2))
    return str(path)
