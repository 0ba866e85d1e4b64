"""What labels of one's own must keep to: mistakes that would otherwise cost accuracy silently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError, shown
from acdc_fast.markups import MARKUPS, Markup

from .broken import Broken
from .pictures import FolderPictures


def usable(
    image: str,
    pictures: FolderPictures,
    where: str,
    broken: Broken,
    box: np.ndarray,
    points: Mapping[str, np.ndarray],
) -> bool:
    """Whether a face can be used: markup → (L, 2) points, NaN where not known. Reports why not."""
    known = {markup: np.isfinite(each).all(1) for markup, each in points.items()}
    side = max(box[2] - box[0], box[3] - box[1])
    if not image or Path(image).is_absolute() or ".." in Path(image).parts or not pictures.has(image):
        broken.report(f"{where}: there is no picture {shown(image)} in {pictures.root}")
    elif not any(each.any() for each in known.values()):
        broken.report(f"{where}: no point is known")
    elif np.isnan(box).all():
        if any(each.all() and MARKUPS[markup].five is not None for markup, each in known.items()):
            return True
        needed = "whose eyes, nose and mouth are named (five) and of which every point is known"
        broken.report(f"{where}: a face without a box needs a markup {needed}")
    elif not (np.isfinite(box).all() and box[0] < box[2] and box[1] < box[3]):
        broken.report(f"{where}: the box must have x0 < x1 and y0 < y1")
    else:
        for markup, each in points.items():
            beside = np.maximum(np.maximum(box[:2] - each, each - box[2:]).max(1), 0)
            if np.nanmax(beside, initial=0) > side:
                k = int(np.nanargmax(beside))
                place = "{:g}, {:g}".format(*each[k])
                far = f"point {k} of {markup}, at {place}, lies far outside the box; both are in pixels"
                broken.report(f"{where}: {far}")
                return False
        return True
    return False


def check_names(markup: Markup, keypoints: Sequence[str], where: str) -> None:
    """Raises `InputError` where COCO's keypoints have other names than the markup's points, if these have any."""
    for k, (ours, theirs) in enumerate(zip(markup.names, keypoints, strict=False)):
        if ours != theirs:
            wrong = f"keypoint {k} is {shown(theirs)}, that of the markup {markup.name} is {shown(ours)}"
            raise InputError(f"{where}: {wrong}; if another markup is meant, the category has its name")


def check_sides(where: str, markup: str, points: np.ndarray) -> None:
    """Raises `InputError` where most of ten or more faces (N, L, 2) have their eye corners the other way round."""
    corners = MARKUPS[markup].eye_corners
    if corners is None:
        return
    left, right = points[:, corners[0], 0], points[:, corners[1], 0]
    known = np.isfinite(left) & np.isfinite(right)
    wrong = int((left > right)[known].sum())
    if known.sum() >= 10 and wrong > known.sum() / 2:
        raise InputError(
            f"{where}: in {wrong} of {known.sum()} faces point {corners[0]} of {markup} is right of point {corners[1]}"
            "; the outer eye corner that is left in the image comes first"
        )
