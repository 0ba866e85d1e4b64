"""Faces on their side or upside down: a crop that is doubted is turned by quarters, and the network sees it again.

The network is trained on faces that lean up to about 40°. On others its maps are wide; on the crop turned upright they
are not. How wide each map is, in sizes of the face, tells it: a linear function of the logarithms gives the log odds
that the face is upright. `training/fits/orientation_fit.py` fits it. `SURE` minus it is the doubt. A crop whose doubt
is above 0 is seen in three turns; one that was cut again already from −`RECUT` on. The turn with the least doubt is
taken where it lowers the doubt by `GAIN`, to less than `BELIEVED`.

Weights without that function are judged by the markup with the narrowest maps alone (`WIDE`, `BETTER`). So are the
first stages of a network, whose maps are wider than those that the function was fitted to.
`docs/notes/training-log.md` (entries 36, 42 and 44) has what both rules tell, and how many upright faces they turn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..photo import coordinates as geometry
from .reading import Reading
from .shape_model import misfit, place_and_size, rowwise

#: Quarters, degrees clockwise.
TURNS = (90.0, 180.0, 270.0)
#: Below these log odds a crop is seen in other turns: a chance of 0.97. Upside-down faces under much hair reach 3.1.
SURE = 3.5
#: A crop that was cut again is seen in other turns from this much less doubt on. On a face that is upside down the cut
#: goes to where its maps look most upright: eleven of 201 such faces (`acdc-w16-fast`) kept a doubt of −1.8 to 0.1. Of
#: upright faces in loose boxes 1 to 6 % lie between −2 and 0.
RECUT = 2.0
#: A turn must lower the doubt by this much: odds of one to four or five.
GAIN = 1.5
#: The doubt of a turn that is believed is below this: turned right, nearly every face looks upright. A profile turned
#: wrong may look a little less strange than before, but strange.
BELIEVED = 4.0
#: By the narrowest maps alone: a face is tried again beyond this multiple of the spread that is usual …
WIDE = 1.5
#: … and believed to be turned where that brings the spread below this multiple of what it was.
BETTER = 0.7
#: Least spread in sizes of the shape: a map that is one pixel alone.
LEAST = 1e-3


@dataclass(frozen=True, eq=False)
class Upright:
    """The log odds of one network, whose markups together have P points."""

    numbers: np.ndarray  # (1 + P,) a constant, and a factor for each map in the order of the config's markups

    def fault(self, points: int) -> str | None:
        """What is wrong with it for markups that have so many points together, or None."""
        return misfit("upright", {"numbers": (self.numbers, (1 + points,))})


def terms(points: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """(N, 1 + P): (N, P, 2) points of all markups and (N, P) spreads in the same unit, whatever it is."""
    wide = spread / place_and_size(points)[1][:, 0]
    return np.concatenate([np.ones((len(wide), 1)), np.log(np.maximum(wide, LEAST))], 1)


@dataclass(frozen=True)
class Judge:
    """How one network doubts that faces are upright."""

    usual: float  # median of upright faces' narrowest spread, crop units; infinite where it is not known
    upright: Upright | None  # None: the narrowest maps alone tell

    def asks(self, doubt: np.ndarray, recut: np.ndarray) -> np.ndarray:
        """(N,) doubts, (N,) whether the crop was cut again → (N,) whether the face is to be seen in other turns."""
        return np.asarray(doubt > (0 if self.upright is None else np.where(recut, -RECUT, 0)))

    def better(self, doubt: np.ndarray, in_turns: np.ndarray) -> np.ndarray:
        """Doubts of faces (F, 1) and of their turns (F, 3) → (F, 3), above 0 where a turn may be believed."""
        if self.upright is None:
            return np.asarray(doubt - in_turns + np.log(BETTER))
        return np.asarray(np.minimum(doubt - GAIN, BELIEVED) - in_turns)

    def doubt(self, reading: Reading) -> np.ndarray:
        """(N,) above 0 where a face may not be upright. Numbers of two crops of a face can be compared."""
        if not np.isfinite(self.usual):
            return np.full(len(reading), -np.inf)
        if self.upright is None:
            return np.asarray(np.log(np.maximum(reading.narrowest, 1e-9) / (WIDE * self.usual)))
        known = terms(reading.points, reading.spread)
        return SURE - rowwise(known, self.upright.numbers[:, None].astype(np.float64))[:, 0]


def turned_squares(squares: np.ndarray) -> np.ndarray:
    """(N, 4) squares → (3N, 4): each turned by a quarter, a half and three quarters."""
    turned = np.repeat(np.asarray(squares, np.float64), len(TURNS), axis=0)
    turned[:, 3] += np.tile(TURNS, len(squares))
    return turned


def best_turn(
    squares: np.ndarray,
    reading: Reading,
    faces: np.ndarray,
    turned: np.ndarray,
    again: Reading,
    better: np.ndarray,
) -> tuple[np.ndarray, Reading]:
    """Squares and reading with those of the ``faces`` (F,) replaced that are less doubted in a turned crop.

    ``turned``: (3F, 4) `turned_squares` of the faces; ``again``: what they say; ``better``: (F, 3) by how
    much each turn lowers the doubt beyond what it must.
    """
    best = better.argmax(1)
    rows = np.arange(len(faces))
    gains = better[rows, best] > 0
    to, source = faces[gains], (rows * len(TURNS) + best)[gains]

    upright = np.array(squares)
    upright[to] = turned[source]
    pose = None if again.pose is None else geometry.turned_pose(again.pose, turned[:, 3])
    return upright, reading.replaced(to, replace(again, pose=pose), source)
