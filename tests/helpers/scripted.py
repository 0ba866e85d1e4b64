"""Scripted scenes for a tracker: people who move as they are told, and what maps and detector say of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from acdc_fast.photo.detection import Search
from acdc_fast.photo.images import Picture
from acdc_fast.types import Faces, HeadPose
from acdc_fast.video import tracking
from acdc_fast.video.tracking import Tracker

FIVE = np.array([[-0.2, -0.15], [0.2, -0.15], [0, 0.05], [-0.15, 0.3], [0.15, 0.3]])
COLOURS = np.array([[220, 60, 60], [60, 200, 60], [70, 70, 230]])


@dataclass
class Person:
    """One face of a scene: where its middle is in each frame (None: not there), what the maps and the detector say."""

    number: int
    at: Callable[[int], tuple[float, float] | None]
    chance: Callable[[int], float] = lambda frame: 0.95
    detected: Callable[[int], bool] = lambda frame: True
    side: float = 40.0

    def box(self, frame: int) -> np.ndarray | None:
        middle = self.at(frame)
        return None if middle is None else np.array([*middle, *middle]) + self.side / 2 * np.array([-1, -1.2, 1, 1.2])


class Scene:
    """Paints the people as coloured cards, the first in front. Acts as detector and model for a tracker."""

    def __init__(self, people: Sequence[Person], monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.people, self.frame, self.looks = people, -1, 0
        monkeypatch.setattr(tracking, "detect", self.detect)
        self.tracker = Tracker(self, **options)  # type: ignore[arg-type]

    def step(self) -> dict[int, int]:
        """The number of each returned face, by the person whom its landmarks, score, pose and box belong to."""
        self.frame += 1
        rgb = np.full((240, 320, 3), 128, np.uint8)
        rgb[::8], rgb[:, ::8] = 90, 160
        for person in reversed(self.people):
            box = person.box(self.frame)
            if box is not None:
                x0, y0, x1, y1 = box.round().astype(int).clip(0).tolist()
                rgb[y0:y1, x0:x1] = COLOURS[person.number]
        faces = self.tracker.step(rgb)
        assert len(faces.ids) == len(faces) == len(set(faces.ids.tolist()))
        told = {}
        for face, name in zip(faces, faces.ids.tolist(), strict=True):
            number = round(float(face.pose.yaw[0]) / 10)
            person = self.people[number]
            x, y = person.at(self.frame)
            assert np.allclose(face.landmarks["2d5"][0].mean(0), [x, y + 0.07 * person.side], atol=0.5)
            assert face.scores[0] == np.float32(person.chance(self.frame)) and face.spread["2d5"][0, 0] == number
            assert face.boxes[0, 0] < x < face.boxes[0, 2] and number not in told
            told[number] = name
        return told

    def play(self, frames: int) -> list[dict[int, int]]:
        return [self.step() for _ in range(frames)]

    def detect(self, rgb: np.ndarray, search: Search) -> tuple[np.ndarray, np.ndarray]:
        self.looks += 1
        boxes = [b for p in self.people if p.detected(self.frame) and (b := p.box(self.frame)) is not None]
        return np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.5, np.float32)

    def align(self, picture: Picture, boxes: np.ndarray) -> Faces:
        """The nearest person within half a box's side, those in front first; nobody: no face, in the box's middle."""
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        points, numbers = np.zeros((len(boxes), 5, 2), np.float32), np.full(len(boxes), -1)
        for i, box in enumerate(boxes):
            middle, side = (box[:2] + box[2:]) / 2, 40.0
            near = [
                (np.linalg.norm(np.subtract(p.at(self.frame), middle)) + 0.1 * k, p)
                for k, p in enumerate(self.people) if p.at(self.frame) is not None
            ]  # fmt: skip
            if near and min(near, key=lambda n: n[0])[0] < 20:
                person = min(near, key=lambda n: n[0])[1]
                middle, side, numbers[i] = np.array(person.at(self.frame)), person.side, person.number
            points[i] = middle + side * FIVE
        pose = HeadPose(*(numbers.astype(np.float32) * k for k in (10, 1, 1)), np.tile(np.eye(3), (len(boxes), 1, 1)))
        flat = {"2d5": np.repeat(numbers[:, None], 5, 1).astype(np.float32)}
        chance = np.array([0.0 if n < 0 else self.people[n].chance(self.frame) for n in numbers], np.float32)
        return Faces(boxes, chance, {"2d5": points}, flat, flat, pose)


def still(
    x: float, y: float = 120, until: float = np.inf, again: float = np.inf
) -> Callable[[int], tuple[float, float] | None]:
    return lambda frame: (x, y) if frame < until or frame >= again else None
