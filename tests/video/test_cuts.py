"""Cuts of a film, told from fast cameras and flickering lamps."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.paths import PHOTO
from helpers.shots import portrait, scenes
from PIL import Image

from acdc_fast.video.cuts import CutFinder


def test_a_cut_is_no_fast_camera() -> None:
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))
    for step in (2, 10, 20):  # a pan, up to 6 % of the width a frame
        finder = CutFinder()
        assert not any(finder.step(photo[100:340, i : i + 320]) for i in range(0, 180, step))
    finder = CutFinder()
    assert not any(finder.step((photo * g).astype(np.uint8)) for g in (1, 0.7, 1, 0.6, 0.9)), "a flickering lamp"
    finder = CutFinder()
    assert [finder.step(s) for s in scenes().values()] == [False, True, True, True, True]
    assert [finder.step(s) for s in (portrait(), portrait(), portrait()[:, ::-1])] == [True, False, True]


@pytest.mark.parametrize(("times", "cut"), [(2.0, False), (4.0, True)])
def test_a_cut_is_sudden(times: float, cut: bool) -> None:
    """While the light changes a lot from frame to frame a shot ends only where more changes than three times that."""
    rng = np.random.default_rng(0)
    blocks = rng.uniform(0.3, 0.7, (9, 16))
    other = rng.permutation(blocks.ravel()).reshape(9, 16)
    usual = float(np.abs(blocks - other).mean()) / times

    def frame(brightness: np.ndarray) -> np.ndarray:
        return np.kron(brightness * 255, np.ones((20, 20)))[..., None].repeat(3, 2).round().astype(np.uint8)

    finder = CutFinder()
    assert not any(finder.step(frame(blocks + usual * (i % 2))) for i in range(9))
    assert finder.step(frame(other)) == cut
