"""The one table of markups: how many points each has, and what its points are. Imports nothing of ours.

A markup is a numbered set of landmarks. Everything that depends on the meaning of a point's number stands here: lines
for drawing, mirror pairs, eye corners, the five points that all markups share. `markup_tables` reads others from
settings and weights files.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]


def _run(first: int, last: int, closed: bool = False) -> tuple[int, ...]:
    """A line through the points first … last, back to the first where it is closed."""
    return (*range(first, last + 1), *((first,) if closed else ()))


def _pairs(*runs: tuple[int, int, int]) -> tuple[tuple[int, int], ...]:
    """(a, b, n): a ↔ b, a+1 ↔ b-1, …, n pairs."""
    return tuple((a + k, b - k) for a, b, n in runs for k in range(n))


@dataclass(frozen=True)
class Markup:
    """One markup. Left and right are those of the image. Raises ``ValueError`` for point numbers that it does not have.

    ``contours``: lines for drawing, each a row of point numbers. ``mirror_pairs``: points that change places when the
    picture is mirrored; all others keep their number. ``eye_corners``: outer corners, left and right; their distance
    is the unit of errors (None: errors of this markup cannot be given in it). ``five``: the points whose mean is the
    left eye, right eye, nose tip, left and right mouth corner (None: unknown). ``means``: another markup and the points
    of it whose mean each point is (an empty group: it is like none). Labels then train a network without maps for them.
    ``names``: of the points, all different (empty: they have none).
    """

    name: str
    points: int
    mirror_pairs: tuple[tuple[int, int], ...] = ()
    contours: tuple[tuple[int, ...], ...] = ()
    eye_corners: tuple[int, int] | None = None
    five: tuple[tuple[int, ...], ...] | None = None
    means: tuple[str, tuple[tuple[int, ...], ...]] | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.startswith(("2d", "3d")):
            raise ValueError(f"markup {self.name!r}: a name begins with 2d or 3d")
        groups = [*self.mirror_pairs, *self.contours, self.eye_corners or (), *(self.five or ())]
        stray = [k for group in groups for k in group if not 0 <= k < self.points]
        if stray:
            raise ValueError(f"markup {self.name!r} has {self.points} points; there is no point {stray[0]}")
        pair_of: dict[int, tuple[int, ...]] = {}
        for pair in self.mirror_pairs:
            for k in pair:
                if k in pair_of:
                    wrong = f"point {k} is in {pair_of[k]} and {pair}"
                    raise ValueError(f"markup {self.name!r}: each point may be in one mirror pair only: {wrong}")
                pair_of[k] = pair
        if self.five is not None and (len(self.five) != 5 or not all(self.five)):
            raise ValueError(f"markup {self.name!r}: five must have five groups of points, none empty")
        if self.means is not None and len(self.means[1]) != self.points:
            raise ValueError(f"markup {self.name!r}: means has {len(self.means[1])} groups for {self.points} points")
        if self.names and not len(set(self.names)) == len(self.names) == self.points:
            raise ValueError(f"markup {self.name!r}: names must be {self.points} different texts")
        self._check_mirror()

    def _check_mirror(self) -> None:
        """The eyes and the corners of the mouth change places; any other entry is wrong."""
        sides = [] if self.eye_corners is None else [("eye_corners", {self.eye_corners[0]}, {self.eye_corners[1]})]
        if self.five is not None:
            eye, other, nose, mouth, corner = map(set, self.five)
            sides += [("five: eyes", eye, other), ("five: nose tip", nose, nose), ("five: mouth", mouth, corner)]
        for what, one, other in sides:
            if {int(self.mirror[k]) for k in one} != other:
                wrong = f"the mirror pairs do not take {sorted(one)} to {sorted(other)}"
                raise ValueError(f"markup {self.name!r}: {what}: {wrong}")

    @cached_property
    def mirror(self) -> NDArray[np.int_]:
        """(L,): point k of a mirrored face is point ``mirror[k]`` of the face, mirrored."""
        table = np.arange(self.points)
        for a, b in self.mirror_pairs:
            table[a], table[b] = b, a
        return table


_IBUG = {  # iBUG's 68 points
    "points": 68,
    "mirror_pairs": _pairs(
        (0, 16, 8), (17, 26, 5), (31, 35, 2), (36, 45, 4), (40, 47, 2), (48, 54, 3), (55, 59, 2), (60, 64, 2),
        (65, 67, 1),
    ),
    "contours": (
        _run(0, 16), _run(17, 21), _run(22, 26), _run(27, 30), _run(31, 35), _run(36, 41, True), _run(42, 47, True),
        _run(48, 59, True), _run(60, 67, True),
    ),
    "eye_corners": (36, 45),
    "five": (_run(36, 41), _run(42, 47), (30,), (48,), (54,)),
}  # fmt: skip

#: Every markup by name.
MARKUPS: dict[str, Markup] = {}


def register(markup: Markup) -> None:
    """Makes a markup known to the config, to drawing, training and evaluation.

    Raises ``ValueError`` where another markup of this name is known already.
    """
    known = MARKUPS.setdefault(markup.name, markup)
    if known != markup:
        other = next(f.name for f in fields(markup) if getattr(known, f.name) != getattr(markup, f.name))
        raise ValueError(f"markup {markup.name!r} is known already, with other {other}: give one of them another name")


register(
    Markup(
        "2d98",  # WFLW
        98,
        mirror_pairs=_pairs(
            (0, 32, 16), (33, 46, 5), (38, 50, 4), (55, 59, 2), (60, 72, 5), (65, 75, 3), (76, 82, 3), (83, 87, 2),
            (88, 92, 2), (93, 95, 1), (96, 97, 1),
        ),
        contours=(
            _run(0, 32), _run(33, 41, True), _run(42, 50, True), _run(51, 54), _run(55, 59), _run(60, 67, True),
            _run(68, 75, True), _run(76, 87, True), _run(88, 95, True),
        ),
        eye_corners=(60, 72),
        five=(_run(60, 67), _run(68, 75), (54,), (76,), (82,)),
    )
)  # fmt: skip
register(Markup("2d68", **_IBUG))  # type: ignore[arg-type]
register(
    Markup(
        "2d29",  # COFW
        29,
        mirror_pairs=(
            (0, 1), (2, 3), (4, 6), (5, 7), (8, 9), (10, 11), (12, 14), (13, 15), (16, 17), (18, 19), (22, 23)
        ),
        contours=(
            (0, 4, 2, 5, 0), (3, 6, 1, 7, 3), (8, 12, 10, 13, 8), (11, 14, 9, 15, 11), (18, 20, 19), (18, 21, 19),
            (22, 24, 23, 27, 22), (22, 25, 23, 26, 22),
        ),
        eye_corners=(8, 9),
        five=((16,), (17,), (20,), (22,), (23,)),
    )
)  # fmt: skip
register(Markup("2d5", 5, ((0, 1), (3, 4)), eye_corners=(0, 1), five=((0,), (1,), (2,), (3,), (4,))))  # CelebA, MTFL
register(Markup("3d68", **_IBUG))  # type: ignore[arg-type]
register(
    Markup(
        "2d10",  # LFW's, Dantone et al.: eye and mouth corners, lips, wings of the nose
        10,
        mirror_pairs=((0, 7), (1, 6), (2, 3), (8, 9)),
        contours=((0, 1), (6, 7), (8, 9), (2, 4, 3, 5, 2)),
        eye_corners=(0, 7),
        means=("2d68", ((36,), (39,), (48,), (54,), (57,), (51, 62), (42,), (45,), (), ())),
    )
)
#: Names of those above. Weights files carry the tables of all others.
PACKAGED = frozenset(MARKUPS)


def of_count(points: int) -> Markup:
    """The first markup with this number of points, for arrays that come without a name.

    Raises ``ValueError`` where none has it.
    """
    for markup in list(MARKUPS.values()):  # another thread may register one
        if markup.points == points:
            return markup
    known = sorted({m.points for m in MARKUPS.values()}, reverse=True)
    raise ValueError(f"no markup has {points} points; known: {', '.join(map(str, known))}")


def mirrored_points(points: np.ndarray, markup: str) -> np.ndarray:
    """(…, L, 2) crop units → those of the mirrored crop, in the markup's order."""
    return np.asarray((points * (-1, 1) + (1, 0))[..., MARKUPS[markup].mirror, :])


def first_of(names: Collection[str], order: Sequence[str], with_five: bool = False) -> str | None:
    """The first markup of ``order`` among ``names``, else the first of ``names``; ``with_five``: of those whose five
    points are known. None where there is none."""
    usable = [name for name in names if not with_five or MARKUPS[name].five is not None]
    return next((name for name in (*order, *usable) if name in usable), None)


def five_points(points: ArrayLike, name: str | None = None) -> Floats:
    """(…, L, 2) of the markup of this name → (…, 5, 2): eyes, nose tip, mouth corners, image-left first.

    ``name`` None: of the first markup with L points. Raises ``ValueError`` where none has, or where its five points are
    unknown.
    """
    points = np.asarray(points, np.float64)
    markup = of_count(points.shape[-2]) if name is None else MARKUPS[name]
    if markup.five is None:
        raise ValueError(f"the five points of markup {markup.name!r} are unknown")
    groups = [points[..., list(g), :] for g in markup.five]
    return np.stack([g[..., 0, :] if g.shape[-2] == 1 else g.mean(-2) for g in groups], -2)
