"""Boxes that a caller brings, checked before anything is cut by them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from .images import Picture

#: Longest side of a box, in longest sides of its picture: a longer one is a mistake.
LARGEST = 8


def given_boxes(boxes: Any, picture: Picture) -> tuple[np.ndarray, np.ndarray]:
    """(N, 4) float32 xyxy pixels, and their scores (N,), all 1.

    Raises `InputError`, naming the picture and the box, for what is not numbers, not such a shape, not finite, smaller
    than a pixel, outside the picture, or far larger than it.
    """
    where = picture.name or "image"
    try:
        array = np.asarray(boxes)
        if array.dtype.kind not in "fiub" and array.size:
            raise TypeError(f"they are {array.dtype}")
        with np.errstate(all="ignore"):  # sizes that overflow are refused below
            array = array.astype(np.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # tensors with gradients or without values
        raise InputError(f"{where}: boxes must be numbers of shape (N, 4), xyxy pixels ({error})") from error
    if array.size == 0:
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise InputError(f"{where}: boxes must have shape (N, 4), xyxy pixels, not {array.shape}")
    for i, (x0, y0, x1, y1) in enumerate(array.tolist()):
        if not np.isfinite((x0, y0, x1, y1)).all():
            raise InputError(f"{where}: box {i} holds NaN or infinity")
        if x1 - x0 < 1 or y1 - y0 < 1:
            meant = ": are they x, y, width, height?" if min(x1, y1) >= 1 and (x1 < x0 or y1 < y0) else ""
            numbers = f"box {i} is ({x0:g}, {y0:g}, {x1:g}, {y1:g})"
            raise InputError(f"{where}: {numbers}; needs x0 < x1, y0 < y1 by a pixel{meant}")
        if x1 <= 0 or y1 <= 0 or x0 >= picture.width or y0 >= picture.height:
            raise InputError(f"{where}: box {i} lies outside the {picture.width}×{picture.height} image")
        if max(x1 - x0, y1 - y0) > LARGEST * max(picture.width, picture.height):
            size = f"{x1 - x0:g}×{y1 - y0:g} pixels of a {picture.width}×{picture.height} image"
            raise InputError(f"{where}: box {i} has {size}: is it xyxy, in pixels?")
    return array, np.ones(len(array), np.float32)
