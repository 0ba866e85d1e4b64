"""Scenes whose people are known in every frame, and what a detector and a network say of them.

All that chance decides is drawn before, by frame and person, so every rule that follows a scene gets the same answers:

- A person is visible unless away, covered by something, or behind somebody whose middle is nearer than 0.6 sides.
- The detector misses a visible person with a given chance, and gives false boxes: each scene has two places that look
  like a face, found now and then, and boxes that come for one frame anywhere.
- The network, asked about a box, tells of the visible person nearest to its middle, within half a side: the place with
  half a pixel of noise, and the chance that there is a face, 0.9 to 0.99, in a few bad spells 0.1 to 0.6. Where nobody
  is, the chance is 10^(−6u), u uniform: 5 % of such places get ½ and more, 28 % get 0.02 and more, as `acdc-w16-fast`
  scored 39 false boxes of the detector in textures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np

WIDTH, HEIGHT, ASPECT = 320, 240, 1.2
COLOURS = np.array([[220, 60, 60], [60, 200, 60], [70, 70, 230]])
#: Sides of a face: how near another hides it, and how far from it a box may be to be of it.
HIDES, REACHES = 0.6, 0.5

Place = tuple[float, float]
Path = Callable[[int], "Place | None"]


class Seen(NamedTuple):
    """What the network says of one box. ``person``: -1 is nobody."""

    person: int
    box: np.ndarray
    chance: float


@dataclass
class Scene:
    """People by number, the first in front. ``covered``: (person, frame). ``shots``: the first frame of each, and
    its picture: a number for one of the backgrounds, "black" or "noise", where no people are painted."""

    paths: list[Path]
    frames: int
    misses: float = 0.0
    false: float = 0.0
    seed: int = 0
    side: float = 40.0
    covered: set[tuple[int, int]] = field(default_factory=set)
    shots: dict[int, int | str] = field(default_factory=lambda: {0: 0})

    def __post_init__(self) -> None:
        shape, rng = (self.frames, len(self.paths)), np.random.default_rng(self.seed)
        self._visible: dict[int, dict[int, np.ndarray]] = {}
        self._missed = rng.random(shape) < self.misses
        good = rng.uniform(0.9, 0.99, shape)
        bad = np.repeat(rng.random((self.frames // 5 + 1, len(self.paths))) < self.misses / 4, 5, 0)[: self.frames]
        self._chance = np.where(bad, rng.uniform(0.1, 0.6, shape), good)
        self._noise = rng.normal(0, 0.5, (*shape, 2))
        self._lures = rng.uniform((30, 30), (WIDTH - 30, HEIGHT - 30), (2, 2))
        self._lured = rng.random((self.frames, 2)) < self.false
        self._flash = rng.uniform((30, 30), (WIDTH - 30, HEIGHT - 30), (self.frames, 2))
        self._flashed = rng.random(self.frames) < self.false / 4
        self._empty = 10 ** (-6 * rng.random((WIDTH // 20 + 2, HEIGHT // 20 + 2)))
        self._scores = rng.uniform(0.5, 1.0, (self.frames, len(self.paths) + 3))

    def shot(self, frame: int) -> int:
        """The first frame of the shot that this one is in."""
        return max(start for start in self.shots if start <= frame)

    def visible(self, frame: int) -> dict[int, np.ndarray]:
        """Middles of the people that can be seen."""
        if frame not in self._visible:
            self._visible[frame] = self._see(frame)
        return self._visible[frame]

    def _see(self, frame: int) -> dict[int, np.ndarray]:
        if isinstance(self.shots[self.shot(frame)], str):
            return {}
        front: list[np.ndarray] = []
        seen = {}
        for person, path in enumerate(self.paths):
            at = path(frame)
            if at is None or not (0 <= at[0] < WIDTH and 0 <= at[1] < HEIGHT):
                continue
            middle = np.array(at)
            if (person, frame) not in self.covered and all(_far(middle, f, HIDES * self.side) for f in front):
                seen[person] = middle
            front.append(middle)
        return seen

    def detect(self, frame: int) -> np.ndarray:
        """(N, 4) boxes xyxy, best score first."""
        middles = {p: m + 3 * self._noise[frame, p] for p, m in self.visible(frame).items()}
        found = [(self._scores[frame, p], m) for p, m in middles.items() if not self._missed[frame, p]]
        if not isinstance(self.shots[self.shot(frame)], str):
            false = [*self._lures[self._lured[frame]], *([self._flash[frame]] if self._flashed[frame] else [])]
            found += [(0.9 * s, m) for s, m in zip(self._scores[frame, -3:], false, strict=False)]
        found.sort(key=lambda pair: -pair[0])
        return np.array([self.box(middle) for _, middle in found]).reshape(-1, 4)

    def look(self, frame: int, box: np.ndarray) -> Seen:
        """What the network says of an xyxy box."""
        middle = (box[:2] + box[2:]) / 2
        away = {p: float(np.linalg.norm(m - middle)) for p, m in self.visible(frame).items()}
        nearest = min(away, key=away.__getitem__, default=-1)
        if nearest < 0 or away[nearest] > REACHES * self.side:
            column, row = (middle // 20).astype(int).clip(0, np.array(self._empty.shape) - 1)
            return Seen(-1, self.box(middle), float(self._empty[column, row]))
        place = self.visible(frame)[nearest] + self._noise[frame, nearest]
        return Seen(nearest, self.box(place), float(self._chance[frame, nearest]))

    def box(self, middle: np.ndarray) -> np.ndarray:
        return np.tile(middle, 2) + self.side / 2 * np.array([-1, -ASPECT, 1, ASPECT])

    def picture(self, frame: int) -> np.ndarray:
        """(HEIGHT, WIDTH, 3) uint8: cards of each person's colour before a background."""
        kind = self.shots[self.shot(frame)]
        if kind == "black":
            return np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        if kind == "noise":
            return np.random.default_rng([self.seed, frame]).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        rgb = _background(self.seed, int(kind)).copy()
        for person in reversed(range(len(self.paths))):
            at = self.paths[person](frame)
            if at is not None:
                x0, y0, x1, y1 = self.box(np.array(at)).round().astype(int).clip(0)
                light = 1 + 0.1 * self._noise[frame, person, 0]
                colour = np.full(3, 128) if (person, frame) in self.covered else COLOURS[person]
                rgb[y0:y1, x0:x1] = (colour * light).clip(0, 255)
        return rgb


@cache
def _background(seed: int, kind: int) -> np.ndarray:
    scene = np.random.default_rng([seed, kind]).integers(40, 216, (HEIGHT // 40, WIDTH // 40, 3)).astype(np.uint8)
    return np.repeat(np.repeat(scene, 40, 0), 40, 1)


def _far(a: np.ndarray, b: np.ndarray, distance: float) -> bool:
    return float(np.linalg.norm(a - b)) >= distance


def scenes(seed: int, misses: float, false: float) -> dict[str, Scene]:
    """One scene of each kind; speeds, paths and times are drawn from the seed. 25 frames are a second."""
    rng = np.random.default_rng([17, seed])
    settings = {"misses": misses, "false": false, "seed": seed, "side": float(rng.uniform(34, 46))}

    def walk(x: float, y: float) -> Path:
        phase, (p, q) = rng.uniform(0, 2 * np.pi, 2), rng.uniform(50, 120, 2)
        return lambda f: (x + 12 * np.sin(f / p * 6.28 + phase[0]), y + 8 * np.sin(f / q * 6.28 + phase[1]))

    speed, low = rng.uniform(2.5, 8), rng.uniform(-12, 12)
    meet = int(180 / speed)
    crossing: list[Path] = [lambda f: (70 + speed * f, 110 + low), lambda f: (250 - speed * f, 110), walk(160, 200)]
    leaves, gone = 20 + int(rng.integers(10)), int(rng.integers(5, 25))
    place, shift = walk(90, 110), rng.uniform(-15, 15, 2)

    def absent(f: int) -> Place | None:
        x, y = place(f)
        return (x, y) if f < leaves else None if f < leaves + gone else (x + shift[0], y + shift[1])

    hidden, long = 20 + int(rng.integers(10)), int(rng.integers(3, 20))
    cut = 20 + int(rng.integers(10))
    spots = [(80.0, 110.0), (240.0, 110.0), (160.0, 180.0)]
    turn = 1 + int(rng.integers(2))

    def changes(person: int) -> Path:
        before, after = walk(*spots[person]), walk(*spots[(person + turn) % 3])
        return lambda f: before(f) if f < cut else after(f)

    def three() -> list[Path]:
        return [walk(*spot) for spot in spots]

    return {
        "cross": Scene(crossing, meet, **settings),
        "leave for up to a second": Scene([absent, walk(230, 120)], 80, **settings),
        "are covered": Scene(three(), 80, covered={(0, hidden + i) for i in range(long)}, **settings),
        "change places at a cut": Scene([changes(p) for p in range(3)], 60, shots={0: 0, cut: 1}, **settings),
        "cut to black and back": Scene(three(), 80, shots={0: 0, cut: "black", cut + 20: 0}, **settings),
        "cut to noise and back": Scene(three(), 80, shots={0: 0, cut: "noise", cut + 20: 0}, **settings),
        "stay": Scene(three(), 100, **settings),
    }
