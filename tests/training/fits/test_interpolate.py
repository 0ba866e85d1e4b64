"""Weights between two: each tensor by its share, and no fits of either."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.faces import write_weights

from acdc_fast import ACDCConfig
from acdc_fast.errors import InputError
from acdc_fast.training.fits import interpolate
from acdc_fast.weights import bundled_path, load_weights, save_weights, weights_of

CONFIG = ACDCConfig(width=4, stages=1, markups=("2d5",), variant="ac")


def test_a_share_of_each(tmp_path: Path) -> None:
    start, end, out = (tmp_path / f"{name}.safetensors" for name in ("start", "end", "out"))
    write_weights(start, CONFIG, licence="old")
    rng = np.random.default_rng(3)
    first = load_weights(start)
    moved = {name: array + rng.uniform(0.5, 1, array.shape).astype(np.float32) for name, array in first.arrays.items()}
    second = replace(first, arrays=moved, card={"licence": "new"}, calibration={"2d5": (0.1,) * 7})
    save_weights(end, second)
    assert load_weights(end).calibration
    assert interpolate.main([str(start), str(end), "--share", "0.7", "-o", str(out)]) == 0
    found = load_weights(out)
    assert found.card == {"licence": "new"} and not found.calibration and found.config == CONFIG
    for name, array in found.arrays.items():
        # Three roundings to float32 of numbers below 4.
        np.testing.assert_allclose(array, first.arrays[name] + 0.7 * (moved[name] - first.arrays[name]), atol=1e-6)


def test_fits_of_either_are_left_out() -> None:
    whole = load_weights(bundled_path("acdc-w16-fast"))
    assert whole.refinement and whole.pose and whole.visibility and whole.calibration
    between = interpolate.interpolated(whole, whole, 0.5)
    assert not (between.refinement or between.pose or between.visibility or between.calibration)
    assert weights_of(between).handed_out == whole.handed_out


def test_the_mask_of_the_end_counts() -> None:
    end = load_weights(bundled_path("acdc-w16-fast"))
    start = replace(end, config=replace(end.config, mask_markups=("2d5",)))
    end = replace(end, config=replace(end.config, mask_markups=("3d68",)))
    between = interpolate.interpolated(start, end, 0.5)
    assert between.config == end.config
    assert all(np.array_equal(between.arrays[name], value) for name, value in end.arrays.items())


def test_what_cannot_be_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_weights(tmp_path / "a.safetensors", CONFIG)
    write_weights(tmp_path / "b.safetensors", replace(CONFIG, width=8))
    names = [str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors"), "-o", str(tmp_path / "out.safetensors")]
    assert interpolate.main([*names, "--share", "0.5"]) == 2
    assert "of two different networks" in capsys.readouterr().err
    assert interpolate.main([*names, "--share", "1.5"]) == 2
    assert "share must lie between 0 and 1, not 1.5" in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()
    with pytest.raises(InputError, match="no such weights"):
        load_weights(tmp_path / "out.safetensors")
