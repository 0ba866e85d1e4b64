"""Faces from frame to frame: the next box comes from the last landmarks, the detector runs now and then.

A face is there in a frame where the maps say so or, in doubt, where the detector finds it in that very frame. A face
that is not there is not given out. Its number is kept for a while: the face gets it back where it comes back near by
and looks alike. A cut ends every track.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from ..errors import InputError
from ..markups import first_of, five_points
from ..photo.camera import Camera
from ..photo.coordinates import box_from_points
from ..photo.detection import Search, detect, overlap
from ..photo.images import ImageLike, Picture, load_picture
from ..types import Faces
from .assignment import assign
from .cuts import CutFinder
from .smoothing import Smoother

#: A face is there where the maps give it this chance or more; below `SURE` the detector is asked as well …
LIKELY, SURE = 0.5, 0.8
#: … and below this chance not even the detector is believed.
UNLIKELY = 0.02
#: A face ends when the detector has looked this often in a row without finding it. After a miss it looks on each frame.
MISSED = 3
#: When a face is absent the detector looks on this many frames, and then on each that far apart. It looks also on each
#: of the first frames of a new face, so many: a false box ends soon, and others who come with the face are found.
SEARCH = 3
#: Two boxes that overlap by more than this (intersection over union) are of one face.
ONE = 0.6
#: A detection is another face's where it lies farther than this from where the face is expected, in sides of its box;
#: with each frame of absence it may lie this much farther.
NEAR, FARTHER = 0.6, 0.1
#: The landmarks' box stays where the detector's overlaps it by this: it is the steadier one.
MIN_OVERLAP = 0.5
#: What a difference of the coarse pictures of two faces costs beside the distance.
APPEARANCE_WEIGHT = 3.0
#: Of an absent face no more than this: a mean difference of the colours of 0.17.
MAX_DIFFERENCE = 0.5
#: What it costs to give a detection to an absent face: one that is followed and lies as near goes before it.
ABSENT = 0.2


class Model(Protocol):
    """What a tracker asks of `acdc_fast.Model`, which opens this room itself."""

    def align(self, image: Any, boxes: Any = None, camera: Camera | None = None) -> Any: ...


@dataclass
class _Track:
    name: int
    expected: np.ndarray  # (4,) xyxy, where the face is looked for in the next frame
    last: np.ndarray | None = None  # (4,) where it was last given out
    motion: np.ndarray = field(default_factory=lambda: np.zeros(2))  # of its middle, pixels a frame
    appearance: np.ndarray | None = None  # (4, 4, 3) coarse picture of the face
    missed: int = 0  # looks of the detector in a row without it
    absent: int = 0  # frames since it was last given out
    given: int = 0  # frames in which it was given out
    hoped: bool = False  # the detector found it, the maps doubted it, and it was never given out

    def distance(self, box: np.ndarray, appearance: np.ndarray) -> float:
        """How far a detection is from this face, and how different it looks; infinite where it is another."""
        side = float(np.sqrt(np.prod(self.expected[2:] - self.expected[:2])))
        away = float(np.linalg.norm(_middle(box) - _middle(self.expected))) / side
        if away > NEAR + FARTHER * self.absent or (self.absent and self.difference(appearance) > MAX_DIFFERENCE):
            return np.inf
        return away / (1 + self.absent) + self.difference(appearance) + (ABSENT if self.absent else 0)

    def difference(self, appearance: np.ndarray) -> float:
        if self.appearance is None:
            return 0.0
        return APPEARANCE_WEIGHT * float(np.abs(self.appearance - appearance).mean())

    def seen(self, box: np.ndarray, appearance: np.ndarray) -> None:
        """Moves the track to where the face is in this frame."""
        steady = self.last is not None and not self.absent
        moved = _middle(box) - _middle(self.last) if self.last is not None and steady else np.zeros(2)
        self.motion = 0.5 * self.motion + 0.5 * moved if steady else np.zeros(2)
        if self.appearance is None:
            self.appearance = appearance
        elif self.difference(appearance) < MAX_DIFFERENCE / 2:  # else something covers the face
            self.appearance = 0.8 * self.appearance + 0.2 * appearance
        self.last, self.expected, self.absent = box, box + np.tile(self.motion, 2), 0
        self.given += 1

    def unseen(self) -> None:
        """Moves the track on where the face is not found, with less and less speed."""
        self.absent += 1
        self.motion = 0.9 * self.motion
        self.expected = self.expected + np.tile(self.motion, 2)


def follow(
    model: Model,
    frames: Iterable[Any],
    smooth: bool,
    every: int,
    absent: int,
    search: Search | None = None,
    camera: Camera | None = None,
) -> Iterator[Faces]:
    """`Model.track`. The options are checked at once, the frames when they are asked for."""
    step = stepper(Tracker(model, every, absent, search, camera), smooth)
    return (step(frame) for frame in frames)


def stepper(tracker: Tracker, smooth: bool) -> Callable[[ImageLike], Faces]:
    """What gives the faces of one frame after another, steadied if ``smooth`` says so."""
    if not smooth:
        return tracker.step
    smoother = Smoother()

    def step(frame: ImageLike) -> Faces:
        picture = load_picture(frame)
        return smoother.step(tracker.step(picture), picture.rgb)

    return step


class Tracker:
    """Follows faces through the frames of one film. Not thread-safe: one tracker a film.

    ``every``: the detector runs on each such frame, on every frame while no face is followed, and in doubt.
    ``absent``: frames for which the number of a face that is not seen is kept. ``search``: what the detector looks for;
    of its ``max_faces``, no new face begins while so many are followed. ``camera``: as in `acdc_fast.Model.align`.
    """

    def __init__(
        self,
        model: Model,
        every: int = 10,
        absent: int = 25,
        search: Search | None = None,
        camera: Camera | None = None,
    ) -> None:
        if not all(isinstance(n, int) for n in (every, absent)) or every < 1 or absent < 0:
            given = f"{every!r} and {absent!r}"
            raise InputError(f"every must be at least 1 and absent at least 0, whole numbers, not {given}")
        self.model, self.every, self.absent, self.frame = model, every, absent, 0
        self.camera = camera
        search = search or Search()
        # All faces are asked for: one that is followed is not lost to a larger one that comes.
        self.search, self.most = replace(search, max_faces=None), search.max_faces
        self._tracks: list[_Track] = []
        self._names = 0
        self._cuts = CutFinder()

    def step(self, image: ImageLike) -> Faces:
        """Faces of the next frame, RGB, with their ``ids``. A score is the chance, by the maps of this
        frame, that the face is there."""
        picture = load_picture(image)
        rgb = picture.rgb
        if self._cuts.step(rgb):
            self._tracks = []
        looked = self._is_time()
        found = self._look(rgb, set()) if looked else set()
        self.frame += 1
        there, faces, chance = self._aligned(picture, found)
        if not looked and (chance < SURE).any():
            found = self._look(rgb, {t.name for t, c in zip(there, chance, strict=True) if c < SURE})
            there, faces, chance = self._aligned(picture, found)
        boxes = [self._following(faces, i, track) for i, track in enumerate(there)]
        appearance = [_appearance(rgb, box) for box in boxes]
        kept: list[int] = []
        hoped: set[int] = set()  # the maps doubt a new face: it is given out if the detector finds it once more
        # Of two tracks on one face, the one that looks more like it stays. A new track goes before no old one.
        order = [(track.appearance is None, track.difference(a)) for track, a in zip(there, appearance, strict=True)]
        for i in sorted(range(len(there)), key=order.__getitem__):
            certain = chance[i] >= (UNLIKELY if there[i].name in found else LIKELY)
            if certain and chance[i] < LIKELY and not (there[i].given or there[i].hoped):
                hoped.add(there[i].name)
            elif certain and np.ptp(boxes[i][::2]) >= 4 and all(overlap(boxes[i], boxes[j]) < ONE for j in kept):
                kept.append(i)
        kept.sort()
        for i in kept:
            there[i].seen(boxes[i], appearance[i])
        given = [there[i].name for i in kept]
        for track in self._tracks:
            if track.name not in given:
                track.unseen()
                track.hoped = track.name in hoped
        self._tracks = [t for t in self._tracks if t.absent <= (self.absent if t.given else int(t.hoped))]
        return replace(faces[kept], ids=np.array(given, np.int64))

    def _is_time(self) -> bool:
        """Whether the detector looks at this frame whatever the maps say."""
        absent = [t for t in self._tracks if t.absent]
        return (
            self.frame % self.every == 0
            or len(absent) == len(self._tracks)
            or any(t.missed or t.given < SEARCH for t in self._tracks if not t.absent)
            or any(t.absent < SEARCH or t.absent % SEARCH == 0 for t in absent)
        )

    def _look(self, rgb: np.ndarray, uncertain: set[int]) -> set[int]:
        """Runs the detector; gives the names it found. Faces doubted, absent or moved get its boxes, new ones begin."""
        boxes = detect(rgb, self.search)[0].astype(np.float64)
        appearance = [_appearance(rgb, box) for box in boxes]
        cost = [[t.distance(b, s) for b, s in zip(boxes, appearance, strict=True)] for t in self._tracks]
        pairs = dict(assign(np.array(cost).reshape(len(self._tracks), len(boxes)), most=2.0))
        found = set()
        for i, track in enumerate(self._tracks):
            if i not in pairs:
                track.missed += 1
                continue
            box = boxes[pairs[i]]
            if track.absent or track.name in uncertain or overlap(track.expected, box) < MIN_OVERLAP:
                track.expected, track.last = box, None  # a jump is no motion
            track.missed = 0
            found.add(track.name)
        room = (self.most or len(boxes)) - sum(not track.absent for track in self._tracks)
        for j in sorted(set(range(len(boxes))) - set(pairs.values()))[: max(0, room)]:
            self._tracks.append(_Track(self._names, boxes[j]))
            found.add(self._names)
            self._names += 1
        return found

    def _aligned(self, picture: Picture, found: set[int]) -> tuple[list[_Track], Faces, np.ndarray]:
        """Tracks that are there or were just found, their faces, and the chance of each."""
        tracks = [
            t for t in self._tracks
            if (t.name in found or not (t.absent or t.missed >= MISSED)) and _inside(t.expected, picture.rgb)
        ]  # fmt: skip
        told = {} if self.camera is None else {"camera": self.camera}
        faces = self.model.align(picture, boxes=np.array([t.expected for t in tracks]).reshape(-1, 4), **told)
        return tracks, faces, faces.scores

    def _following(self, faces: Faces, i: int, track: _Track) -> np.ndarray:
        """(4,) the box that the landmarks suggest; where the face was expected if the weights give no points to follow
        by, or if points that are in doubt jump away."""
        markup = first_of(faces.landmarks, ("2d68", "2d98", "2d5", "3d68"), with_five=True)
        if markup is None:
            return track.expected
        box = np.asarray(box_from_points(five_points(faces.landmarks[markup][i : i + 1], markup))[0])
        doubted = faces.scores[i] < SURE and overlap(box, track.expected) < MIN_OVERLAP
        return track.expected if doubted else box


def _middle(box: np.ndarray) -> np.ndarray:
    return np.asarray((box[:2] + box[2:]) / 2)


def _appearance(rgb: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(4, 4, 3) colours in [0, 1] sampled over the box; the picture's edge goes on beyond it."""
    height, width = rgb.shape[:2]
    at = (np.arange(12) + 0.5) / 12
    x = np.clip(box[0] + at * (box[2] - box[0]), 0, width - 1).astype(np.int64)
    y = np.clip(box[1] + at * (box[3] - box[1]), 0, height - 1).astype(np.int64)
    return np.asarray(rgb[y[:, None], x].reshape(4, 3, 4, 3, 3).mean((1, 3)) / 255)


def _inside(box: np.ndarray, rgb: np.ndarray) -> bool:
    """Whether the middle of the box lies in the picture."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return bool(0 <= x < rgb.shape[1] and 0 <= y < rgb.shape[0] and box[2] - box[0] >= 1 and box[3] - box[1] >= 1)
