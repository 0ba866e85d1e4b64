"""Landmarks and head pose steadied from frame to frame: the one-euro filter (Casiez, Roussel and Vogel, CHI 2012).

A face is averaged over several frames, with its motion taken out so that it does not lag; what moves within it is
averaged over few. Points whose maps are wide jitter more, and are averaged longer. Times are in frames.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..photo.coordinates import matrix_to_euler
from ..types import Faces, HeadPose

#: Cutoff at rest, cycles a frame.
REST = 0.045
#: What a speed of one side (for pose: of one radian) a frame adds to the cutoff; and the share of the face's own.
SPEED, WHOLE = 25.0, 0.1
#: Of blendshapes: how many times their full range counts as one side.
FULL = 3.0
#: Cutoff of the speeds, cycles a frame.
SPEEDS = 0.05
#: A point is averaged at most this many times longer or shorter than the others of its face.
UNEVEN = 2.0


def _share(cutoff: np.ndarray | float) -> np.ndarray:
    """Weight of the new value in an exponential average of this cutoff."""
    return np.asarray(1 / (1 + 1 / (2 * np.pi * np.asarray(cutoff))))


class _Filter:
    """Of (L, D) values. What all L do together is known well and expected to go on. Each one's own speed beside it
    raises its cutoff, as a tenth of the common one does."""

    def __init__(self, values: np.ndarray) -> None:
        self.raw, self.value, self.speed = values, values, np.zeros_like(values)

    def step(self, values: np.ndarray, weight: np.ndarray, unit: float) -> np.ndarray:
        """``weight`` (L,) multiplies the cutoff at rest; speeds count in ``unit``."""
        self.speed = self.speed + _share(SPEEDS) * (values - self.raw - self.speed)
        common = self.speed.mean(0)
        fast = WHOLE * np.linalg.norm(common) + np.linalg.norm(self.speed - common, axis=1)
        share = _share(REST * weight + SPEED * fast / unit)[:, None]
        ahead = self.value + common
        self.raw, self.value = values, ahead + share * (values - ahead)
        return self.value


class Smoother:
    """Of the faces of one film, by their ids. A face that was absent starts again without a past."""

    def __init__(self) -> None:
        self._filters: dict[tuple[int, str], _Filter] = {}

    def step(self, faces: Faces) -> Faces:
        """The same faces with steadier landmarks, blendshapes and pose, its place and points in space too; all else is
        as it was."""
        assert faces.ids is not None
        ids: list[int] = faces.ids.tolist()
        self._filters = {key: f for key, f in self._filters.items() if key[0] in ids}
        side = np.sqrt((faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(1)).astype(np.float64)
        landmarks = dict(faces.landmarks)
        for markup, points in faces.landmarks.items() if ids else ():
            weights = _weights(faces.spread[markup])
            steady = [self._step(n, markup, *of) for n, *of in zip(ids, points, weights, side, strict=True)]
            landmarks[markup] = np.stack(steady).astype(np.float32)
        pose = faces.pose
        if pose is not None and ids:
            place, head = pose.translation, pose.points
            flat = [self._step(n, "", m.reshape(1, 9), np.ones(1), 1.0) for n, m in zip(ids, pose.matrix, strict=True)]
            pose = _rotations(np.stack(flat).reshape(-1, 3, 3))
            if place is not None and head is not None:
                # The head's points go with its place: one filter, in sides of a head.
                both, size = np.concatenate([place[:, None], head], 1), np.ptp(head[..., 0], 1) + 1e-9
                flat = [self._step(n, " ", p, np.ones(len(p)), s) for n, p, s in zip(ids, both, size, strict=True)]
                moved = np.stack(flat).astype(np.float32)
                pose = replace(pose, translation=moved[:, 0], points=moved[:, 1:])
        shapes = faces.blendshapes
        if shapes and ids:
            values = np.stack(list(shapes.values()), 1)[..., None]
            flat = [self._step(n, "  ", v, np.ones(len(v)), FULL)[:, 0] for n, v in zip(ids, values, strict=True)]
            shapes = dict(zip(shapes, np.clip(np.stack(flat), 0, 1).T.astype(np.float32), strict=True))
        return replace(faces, landmarks=landmarks, pose=pose, blendshapes=shapes)

    def _step(self, name: int, what: str, values: np.ndarray, weight: np.ndarray, unit: float) -> np.ndarray:
        values = values.astype(np.float64)
        if (name, what) in self._filters:
            return self._filters[name, what].step(values, weight, unit)
        self._filters[name, what] = _Filter(values)
        return values


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
