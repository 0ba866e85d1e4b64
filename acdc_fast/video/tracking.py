"""Faces from frame to frame: the next box comes from the last landmarks, the detector runs now and then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..model import Model
from ..photo.coordinates import box_from_points
from ..photo.detection import detect, overlap
from ..photo.images import load_picture
from ..types import Faces

#: A new box is a face already followed where the two overlap by this (intersection over union).
SAME = 0.3
#: A face is lost when its landmarks are less certain than this on average …
CERTAIN = 0.15
#: … or when the detector has looked this often without finding it.
MISSED = 3


@dataclass
class _Track:
    name: int
    box: np.ndarray  # (4,) xyxy, where the face is expected in the next frame
    score: float
    missed: int = 0


class Tracker:
    """Follows faces through the frames of one video. Not thread-safe: one tracker a video.

    ``every``: the detector runs on each such frame, and on every frame while no face is followed.
    """

    def __init__(self, model: Model, every: int = 10) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, not {every}")
        self.model, self.every, self.frame = model, every, 0
        self._tracks: list[_Track] = []
        self._names = 0

    @property
    def names(self) -> list[int]:
        """Of each face that `step` gave last, in order, a number that stays with it."""
        return [track.name for track in self._tracks]

    def step(self, image: np.ndarray) -> Faces:
        """Faces of the next frame, H×W×3 uint8 RGB."""
        picture = load_picture(image)
        if self.frame % self.every == 0 or not self._tracks:
            self._look(picture.rgb)
        self.frame += 1
        inside = [t for t in self._tracks if _inside(t.box, picture.width, picture.height)]
        faces = self.model.align(picture, boxes=np.array([t.box for t in inside]).reshape(-1, 4))
        markup = next((m for m in ("2d68", "2d98", "2d5", "3d68") if m in faces.landmarks), None)
        kept = []
        for i, track in enumerate(inside):
            faces.scores[i] = track.score
            if markup is None:  # nothing to follow by: the detector's box stays until it looks again
                kept.append(i)
                continue
            track.box = box_from_points(faces.landmarks[markup][i : i + 1])[0]
            alone = all(overlap(track.box, inside[j].box) < 0.6 for j in kept)
            if alone and faces.confidence[markup][i].mean() >= CERTAIN and np.ptp(track.box[::2]) >= 4:
                kept.append(i)
        self._tracks = [inside[i] for i in kept]
        return _chosen(faces, kept)

    def _look(self, rgb: np.ndarray) -> None:
        """Runs the detector: known faces stay where their landmarks are, new ones begin, missed ones end."""
        boxes, scores = detect(rgb)
        free = list(range(len(boxes)))
        for track in self._tracks:
            best = max(free, key=lambda i, t=track: overlap(t.box, boxes[i]), default=None)  # type: ignore[misc]
            if best is not None and overlap(track.box, boxes[best]) >= SAME:
                free.remove(best)
                track.score, track.missed = float(scores[best]), 0
                track.box = boxes[best].astype(np.float64)
            else:
                track.missed += 1
        self._tracks = [track for track in self._tracks if track.missed < MISSED]
        for i in free:
            self._tracks.append(_Track(self._names, boxes[i].astype(np.float64), float(scores[i])))
            self._names += 1


def _inside(box: np.ndarray, width: int, height: int) -> bool:
    """Whether the middle of the box lies in the picture."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return bool(0 <= x < width and 0 <= y < height and box[2] - box[0] >= 1 and box[3] - box[1] >= 1)


def _chosen(faces: Faces, kept: list[int]) -> Faces:
    if len(kept) == len(faces):
        return faces
    index = np.array(kept, np.int64)
    pose = faces.pose and type(faces.pose)(
        faces.pose.yaw[index], faces.pose.pitch[index], faces.pose.roll[index], faces.pose.matrix[index]
    )
    landmarks, spread, confidence = (
        {name: values[index] for name, values in each.items()}
        for each in (faces.landmarks, faces.spread, faces.confidence)
    )
    return Faces(faces.boxes[index], faces.scores[index], landmarks, spread, confidence, pose, faces.source)
