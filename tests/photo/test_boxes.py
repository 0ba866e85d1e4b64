"""What is said of boxes that cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from acdc_fast.errors import InputError
from acdc_fast.photo.boxes import given_boxes
from acdc_fast.photo.images import Picture


@pytest.mark.parametrize(
    ("box", "asked"),
    [((300, 200, 90, 120), True), ((300, 10, 90, 120), True), ((10, 200, 90, 120), True),
     ((50, 50, 50, 90), False), ((50, 50, 50.5, 90), False), ((50, 50, -20, 90), False)],
)  # fmt: skip
def test_widths_and_heights_are_guessed(box: tuple[float, ...], asked: bool) -> None:
    picture = Picture(np.zeros((400, 600, 3), np.uint8), "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg: box 1 is .* needs x0 < x1, y0 < y1 by a pixel") as caught:
        given_boxes([(1, 2, 30, 40), box], picture)
    assert str(caught.value).endswith("by a pixel: are they x, y, width, height?" if asked else "by a pixel")
