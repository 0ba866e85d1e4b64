"""Landmarks and head pose steadied from frame to frame: the one-euro filter (Casiez, Roussel and Vogel, CHI 2012).

Where the frame is given, `motion` reads from it how the face moves as a whole. Each point is moved on by that and drawn
towards where it was found, so a face that moves is averaged over several frames and does not lag. What moves within it
is averaged over few. Points whose maps are wide jitter more, and are averaged longer. A frame whose points the picture
denies is not believed. A face that is missing in a few frames goes on from its past if it comes back where it is
expected. Times are in frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ..photo.coordinates import matrix_to_euler
from ..types import Faces, HeadPose
from .motion import Cut, Motion

#: Cutoff at rest, cycles a frame: noise falls to about a fifth.
REST = 0.045
#: What a speed of one side (for pose: of one radian) a frame adds to the cutoff. With the motion known, speeds are of
#: what is left of it; without, they are of all, and more is added: else the face would lag.
SPEED, SPEED_UNKNOWN = 8.0, 25.0
#: Without the motion, the share of the face's own speed that counts.
WHOLE = 0.1
#: Of blendshapes: how many times their full range counts as one side.
FULL = 3.0
#: Cutoffs of the speeds, cycles a frame, with the motion known and without.
SPEEDS, SPEEDS_UNKNOWN = 0.1, 0.05
#: A point is averaged at most this many times longer or shorter than the others of its face.
UNEVEN = 2.0
#: Points that lie this far from where the picture says that they have gone, in sides, in the mean, are not believed.
#: Films of rendered heads reach 0.03 while they speak.
DENIED = 0.1
#: Nor are the points of a frame with a score below this where they jump as far and the picture says nothing.
SURE = 0.8
#: The motion is looked for from where the last one would go on to. If the points have gone elsewhere by more than this,
#: in sides, also from there. A pixel of the cut is about 0.02 sides.
NEAR = 0.02
#: After so many frames that were not believed, the next is: a face that really jumped is followed.
HELD = 3
#: Frames for which the past of a face that is missing is kept: it blinked away, or something passed before it.
MISSING = 5


def _share(cutoff: np.ndarray | float) -> np.ndarray:
    """Weight of the new value in an exponential average of this cutoff."""
    return np.asarray(1 / (1 + 1 / (2 * np.pi * np.asarray(cutoff))))


class _Filter:
    """Of (L, D) values. Each one's own speed, beside what moves them all, raises its cutoff."""

    def __init__(self, values: np.ndarray) -> None:
        self.raw, self.value = values, values
        self.speed, self.own = np.zeros_like(values), np.zeros_like(values)

    def ahead(self, motion: Motion | None, frames: int = 1) -> np.ndarray:
        """Where the values are expected after so many frames. What all do together is known well, and expected to go
        on. ``motion``: over all these frames."""
        return np.asarray(self.value + (frames * self.speed.mean(0) if motion is None else motion.at(self.value)))

    def step(
        self, values: np.ndarray, weight: np.ndarray, unit: float, motion: Motion | None, frames: int
    ) -> np.ndarray:
        """``weight`` (L,) multiplies the cutoff at rest; speeds count in ``unit``; ``frames`` since the last step."""
        moved = (values - self.raw) / frames
        self.speed = self.speed + _share(SPEEDS_UNKNOWN) * (moved - self.speed)
        if motion is None:
            common = self.speed.mean(0)
            fast = WHOLE * np.linalg.norm(common) + np.linalg.norm(self.speed - common, axis=1)
            fast = SPEED_UNKNOWN * fast
        else:
            self.own = self.own + _share(SPEEDS) * (moved - motion.at(self.raw) / frames - self.own)
            fast = SPEED * np.linalg.norm(self.own, axis=1)
        ahead, kept = self.ahead(motion, frames), (1 - _share(REST * weight + fast / unit)) ** frames
        self.raw, self.value = values, values + kept[:, None] * (ahead - values)
        return self.value

    def hold(self, motion: Motion | None) -> np.ndarray:
        """The step of a frame whose values are not believed."""
        self.raw, self.value = self.raw + (self.ahead(motion) - self.value), self.ahead(motion)
        return self.value


@dataclass
class _Face:
    """What is known of one face from its last frame, and of this frame."""

    filters: dict[str, _Filter] = field(default_factory=dict)
    cut: Cut | None = None
    motion: Motion | None = None  # into this frame
    believed: bool = True
    held: int = 0  # frames in a row that were not believed
    missing: int = 0  # frames in a row without the face
    frames: int = 1  # since the last frame with the face

    def look(self, faces: Faces, i: int, side: float, rgb: np.ndarray | None) -> None:
        """Reads the motion into this frame, and whether its points are believed."""
        markup = max(faces.landmarks, key=lambda name: faces.landmarks[name].shape[1])
        found, of, last = faces.landmarks[markup][i].astype(np.float64), self.filters.get(markup), self.motion
        self.motion, self.believed = None, True
        steps, self.frames, self.missing = self.frames, self.missing + 1, 0
        if of is not None:
            if rgb is not None and self.cut is not None:
                before = np.zeros(2) if last is None else last.at(of.raw).mean(0) * self.frames / steps
                by_points = (found - of.raw).mean(0)
                near = np.linalg.norm(by_points - before) < NEAR * side
                self.motion = self.cut.motion(rgb, [before] if near else [before, by_points])
            away = float(np.linalg.norm(found - of.ahead(self.motion, self.frames), axis=1).mean()) / side
            if self.frames > 1 and away > DENIED:  # it came back elsewhere
                self.filters, self.motion = {}, None
            denied = away > DENIED and self.frames == 1 and (self.motion is not None or faces.scores[i] < SURE)
            self.held = self.held + 1 if denied and self.held < HELD else 0
            self.believed = not self.held
        self.cut = None if rgb is None else Cut(rgb, faces.boxes[i].astype(np.float64))

    def step(self, what: str, values: np.ndarray, weight: np.ndarray, unit: float, follows: bool) -> np.ndarray:
        """``follows``: values are places in the picture, and move as it does."""
        values, motion = values.astype(np.float64), self.motion if follows else None
        if what not in self.filters:
            self.filters[what] = _Filter(values)
        elif self.believed:
            return self.filters[what].step(values, weight, unit, motion, self.frames)
        else:
            return self.filters[what].hold(motion)
        return values


class Smoother:
    """Of the faces of one film, by their ids. A face that was absent for long starts again without a past."""

    def __init__(self) -> None:
        self._faces: dict[int, _Face] = {}

    def step(self, faces: Faces, rgb: np.ndarray | None = None) -> Faces:
        """The same faces with steadier landmarks, blendshapes and pose, its place and points in space too; all else is
        as it was. ``rgb``: the frame, (H, W, 3) uint8; with it a face that moves is steadied more."""
        assert faces.ids is not None
        ids: list[int] = faces.ids.tolist()
        for name, face in list(self._faces.items()):
            face.missing += name not in ids
            if face.missing > MISSING:
                del self._faces[name]
        if not ids:
            return faces
        known = [self._faces.setdefault(name, _Face()) for name in ids]
        side = np.sqrt((faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(1)).astype(np.float64)
        for i, face in enumerate(known):
            face.look(faces, i, side[i], rgb)

        def steady(what: str, values: np.ndarray, weights: np.ndarray, units: np.ndarray, follows: bool) -> np.ndarray:
            rows = zip(known, values, weights, units, strict=True)
            return np.stack([face.step(what, v, weight, unit, follows) for face, v, weight, unit in rows])

        landmarks = {
            markup: steady(markup, points, _weights(faces.spread[markup]), side, True).astype(np.float32)
            for markup, points in faces.landmarks.items()
        }
        even, one = np.ones((len(ids), 1)), np.ones(len(ids))
        pose = faces.pose
        if pose is not None:
            place, head = pose.translation, pose.points
            pose = _rotations(steady("", pose.matrix.reshape(-1, 1, 9), even, one, False).reshape(-1, 3, 3))
            if place is not None and head is not None:
                # The head's points go with its place: one filter, in sides of a head.
                both, size = np.concatenate([place[:, None], head], 1), np.ptp(head[..., 0], 1) + 1e-9
                moved = steady(" ", both, even, size, False).astype(np.float32)
                pose = replace(pose, translation=moved[:, 0], points=moved[:, 1:])
        shapes = faces.blendshapes
        if shapes:
            values = steady("  ", np.stack(list(shapes.values()), 1)[..., None], even, FULL * one, False)
            shapes = dict(zip(shapes, np.clip(values[..., 0], 0, 1).T.astype(np.float32), strict=True))
        return replace(faces, landmarks=landmarks, pose=pose, blendshapes=shapes)


def _weights(spread: np.ndarray) -> np.ndarray:
    """(N, L) spreads → (N, L) factors of the cutoff: less for wide maps."""
    usual = np.median(spread, 1, keepdims=True)
    return np.asarray(np.clip(usual / np.maximum(spread, 1e-6), 1 / UNEVEN, UNEVEN))


def _rotations(matrices: np.ndarray) -> HeadPose:
    """The rotations nearest to (N, 3, 3) averages of rotations."""
    u, _, vt = np.linalg.svd(matrices)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    matrix = u @ vt
    yaw, pitch, roll = (angle.astype(np.float32) for angle in matrix_to_euler(matrix))
    return HeadPose(yaw, pitch, roll, matrix.astype(np.float32))
