"""Tiles of a picture, and which boxes of a tile show whole faces."""

from __future__ import annotations

import numpy as np

from acdc_fast.detector.tiles import tiles, whole


def test_a_part_of_a_face_is_none() -> None:
    """A box that ends at a tile's border is dropped, unless the picture ends there too."""
    faces = np.array(
        [[0, 10, 50, 60, 0.9], [60, 60, 99, 99, 0.9], [50, 10, 100, 60, 0.9], [10, 1, 50, 60, 0.9], [9, 9, 20, 98, 0.9]]
    )
    assert whole(faces, (0, 0, 100, 100), 400, 400).tolist() == [True, False, False, True, True]
    assert whole(faces, (300, 0, 400, 100), 400, 100).tolist() == [False, True, True, True, True]
    assert whole(faces, (100, 200, 200, 300), 400, 400).tolist() == [False, False, False, False, True]
    assert whole(faces[:0], (0, 0, 100, 100), 400, 400).shape == (0,)


def test_tiles_cover_the_picture_and_share_with_their_neighbours() -> None:
    seen = np.zeros((250, 730), int)
    cut = tiles(730, 250, 200, 40)
    for left, top, right, bottom in cut:
        assert right - left <= 200 and bottom - top <= 200
        seen[top:bottom, left:right] += 1
    assert seen.min() == 1 and len(cut) == 10
    assert cut[0] == (0, 0, cut[0][2], cut[0][3]) and cut[-1][2:] == (730, 250)
    assert [tile[0] for tile in cut] == sorted({tile[0] for tile in cut}) * 2
