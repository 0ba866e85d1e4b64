"""Faces on their side or upside down: a crop with wide maps is turned by quarters, and the network sees it again.

The network is trained on faces that lean up to about 40°. On others its maps are wide; on the crop turned upright they
are not. The markup with the narrowest maps shows it best. Measured on the MTFL development list:

- Every tenth photo, turned by 90, 180 and 270°: of the 229 faces that the detector finds, acdc-w32 turns 228 upright
  again and acdc-w16 217. Of every seventh photo acdc-w16-fast turns 283 of 307.
- The whole list as it is: the three faces that are upside down are turned. A turn narrows none of the upright ones to
  less than 0.79 of before. Of the upright faces in the samples above, 1 to 5 % lie beyond `WIDE`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..photo import coordinates as geometry
from ..types import Prediction
from .confidence import narrowest_spread
from .predictions import replaced

#: Quarters, degrees clockwise.
TURNS = (90.0, 180.0, 270.0)
#: A face is tried again beyond this multiple of the narrowest markup's spread that is usual for the weights …
WIDE = 1.5
#: … and believed to be turned where that brings the spread below this multiple of what it was.
BETTER = 0.7


def turned_squares(squares: np.ndarray) -> np.ndarray:
    """(N, 4) squares → (3N, 4): each turned by a quarter, a half and three quarters."""
    turned = np.repeat(np.asarray(squares, np.float64), len(TURNS), axis=0)
    turned[:, 3] += np.tile(TURNS, len(squares))
    return turned


def best_turn(
    squares: np.ndarray, prediction: Prediction, faces: np.ndarray, turned: np.ndarray, again: Prediction
) -> tuple[np.ndarray, Prediction]:
    """Squares and prediction with those of the ``faces`` replaced whose maps narrow in a turned crop.

    ``turned``: the `turned_squares` of the faces; ``again``: the predictions for them.
    """
    count = len(faces)
    spread = narrowest_spread(again).reshape(count, len(TURNS))
    best = spread.argmin(1)
    better = spread[np.arange(count), best] < BETTER * narrowest_spread(prediction)[faces]
    to, source = faces[better], (np.arange(count) * len(TURNS) + best)[better]

    upright = np.array(squares)
    upright[to] = turned[source]
    pose = None if again.pose is None else geometry.turned_pose(again.pose, turned[:, 3])
    return upright, replaced(prediction, to, replace(again, pose=pose), source)
