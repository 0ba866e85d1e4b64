"""Metadata of an exported file, as text: which weights, which points, how to cut a crop. Needs no torch."""

from __future__ import annotations

import json
from typing import Any

from .. import __version__
from ..markups import MARKUPS
from ..metadata import number_of
from ..photo import coordinates as geometry
from ..readout import border, second_look
from ..weights import Weights, fingerprint

CODE_LICENCE = "Apache-2.0"
#: Of weights whose card names no terms.
UNKNOWN_TERMS = "not stated by the weights"


def crop_recipe(resolution: int) -> dict[str, Any]:
    """How to cut the crop of a box x0, y0, x1, y1 in image pixels, centres of pixels at whole numbers; w, h its sides.

    The crop is square and upright: its centre is the box's, moved by ``shift`` · (w, h); its side ``scale`` · √(w·h).
    The picture is made grey by the shares ``grey`` of red, green and blue, rounded to whole numbers. With
    k = max(1, round(side / size)) samples to each side of a crop's pixel, sample i of size · k lies at
    centre + side · ((i + ½) / (size · k) − ½). It is bilinear; beyond the border the edge goes on. Each k × k samples
    are averaged and divided by ``divisor``. A point (u, v) of the crop lies at centre + side · ((u, v) − ½).
    """
    return {
        "size": resolution,
        "shift": list(geometry.BOX_SHIFT),
        "scale": geometry.BOX_SCALE,
        "grey": [0.299, 0.587, 0.114],
        "divisor": 255,
    }


def border_recipe() -> dict[str, float]:
    """What a file cannot know, because it sees one crop: confidence and sight at the border of the picture. The numbers
    of `readout.border`."""
    return {"slope": border.SLOPE, "from": border.FROM, "to": border.TO, "middle": border.MIDDLE, "width": border.WIDTH}


def facts(weights: Weights, name: str, resolution: int, stages: int) -> dict[str, str]:
    """Key → text. What is no plain text is JSON."""
    markups = {m: {"points": MARKUPS[m].points, "contours": MARKUPS[m].contours} for m in weights.handed_out}
    usual = number_of(weights.card, "narrowest_spread", "weights")
    limits = second_look.limits_of(weights.card, "weights")
    look = {"smaller": limits.smaller, "larger": limits.larger, "away": limits.away, "settled": limits.settled,
            "lost": limits.lost * usual, "worse": limits.worse, "better": limits.better}  # fmt: skip
    return {
        "acdc_fast": __version__,
        "weights": name or "own weights",
        "weights_sha256": fingerprint(weights),
        "licence_of_code": CODE_LICENCE,
        "licence_of_weights": weights.card.get("licence", UNKNOWN_TERMS),
        "stages": str(stages),
        "markups": json.dumps(markups),
        "crop": json.dumps(crop_recipe(resolution)),
        "border": json.dumps(border_recipe()),
        **({"second_look": json.dumps(look)} if usual else {}),
    }
