"""Weights files: round trip and every way in which a file can be wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: the network's own state_dict is the yardstick")

from helpers.small import arrays_of, small_network, small_weights  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

from acdc_fast import ACDC, ACDCConfig  # noqa: E402
from acdc_fast.errors import InputError  # noqa: E402
from acdc_fast.weights import bundled, bundled_path, load_weights, save_weights, state_shapes  # noqa: E402


@pytest.mark.parametrize(
    "fields",
    [{}, {"variant": "ac", "markups": ("2d68",)}, {"variant": "ac+pose"}, {"stages": 1}, {"markups": ("2d5", "3d68")}],
)
def test_state_shapes_are_those_of_the_network(fields: dict) -> None:
    config = ACDCConfig(**{"width": 8, "stages": 2, **fields})
    state = {k: tuple(v.shape) for k, v in ACDC(config).state_dict().items() if not k.endswith("num_batches_tracked")}
    assert state_shapes(config) == state


def test_round_trip(tmp_path: Path) -> None:
    weights = replace(small_weights(), markups=("2d68",), calibration={"2d68": (1.5, 0.5, 2.0)}, card={"data": "none"})
    save_weights(tmp_path / "w.safetensors", weights)
    back = load_weights(tmp_path / "w.safetensors")
    assert (back.config, back.markups, back.calibration, back.card) == (
        weights.config, weights.markups, weights.calibration, weights.card)  # fmt: skip
    assert back.exposed == ("2d68",) and small_weights().exposed == weights.config.order
    assert all(np.array_equal(back.arrays[k], v) for k, v in weights.arrays.items())
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights = small_weights()
    save_weights(path, weights)
    before = path.read_bytes()
    broken = {k: v for k, v in weights.arrays.items() if k != "unets.1.up2.0.weight"}
    with pytest.raises(InputError, match=r"unets\.1\.up2\.0\.weight.*missing"):
        save_weights(path, replace(weights, arrays=broken))
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_missing_truncated_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(InputError, match=r"w\.safetensors: there is no such"):
        load_weights(path)
    save_weights(path, small_weights())
    whole = path.read_bytes()
    for cut in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"w\.safetensors: not a whole safetensors file"):
            load_weights(path)
    path.write_bytes(b"\x89PNG" * 100)
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_weights(path)
    save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(InputError, match="names no network config"):
        load_weights(path)


def test_other_architecture_names_the_first_tensor(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights = small_weights()
    arrays = arrays_of(small_network())
    meta = {"format": "acdc-fast 1", "config": replace(weights.config, width=12).to_json()}
    save_file(arrays, path, meta)
    with pytest.raises(InputError, match=r"'unets\.0\.stem\.weight' has shape \(8, 1, 1, 1\).*\(12, 1, 1, 1\)"):
        load_weights(path)
    save_file({**arrays, "extra": np.zeros(1, np.float32)}, path, {**meta, "config": weights.config.to_json()})
    with pytest.raises(InputError, match="'extra' has no place"):
        load_weights(path)
    arrays["gtn.pose.bias"][0] = np.nan
    save_file(arrays, path, {**meta, "config": weights.config.to_json()})
    with pytest.raises(InputError, match=r"gtn\.pose\.bias.*NaN"):
        load_weights(path)
    save_file(arrays, path, {"format": "acdc-fast 9", "config": weights.config.to_json()})
    with pytest.raises(InputError, match="acdc-fast 9"):
        load_weights(path)


def test_half_precision_storage_is_read_as_float32(tmp_path: Path) -> None:
    weights = small_weights()
    meta = {"format": "acdc-fast 1", "config": weights.config.to_json()}
    save_file({k: v.astype(np.float16) for k, v in weights.arrays.items()}, tmp_path / "w.safetensors", meta)
    back = load_weights(tmp_path / "w.safetensors")
    assert all(v.dtype == np.float32 for v in back.arrays.values())


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(InputError, match="no weights named 'nonesuch'"):
        bundled_path("nonesuch")


@pytest.mark.parametrize("name", bundled())
def test_the_weights_in_the_package_say_what_they_may_be_used_for(name: str) -> None:
    card = load_weights(bundled_path(name)).card
    assert "research" in card["licence"] and "mtfl-train" in card["data"]
