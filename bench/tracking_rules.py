"""How three trackers decide which face is where, on `scripted_scenes.Scene`, which answers for detector and network.

`Ours` is the package's tracker itself. The other two are the rules of MediaPipe and of OpenSeeFace as read in their
public sources, written anew, and neither program nor network of theirs:

- MediaPipe, `face_landmark_front_cpu.pbtxt` ("solutions") and `face_landmarker_graph.cc` ("tasks"), both with
  `AssociationNormRectCalculator`. The detector runs while fewer than the wanted faces are tracked. Its boxes and those
  of the last landmarks become one list, without two that overlap by more than ½: "solutions" keeps the tracked one and
  lists new ones first, "tasks" keeps the detected one and lists it last. A face lives while its presence is ½ or more.
  There are no identities. Who wants some has the place in the list, or must follow the rectangles: `places` says which.
- OpenSeeFace, `tracker.py` (`predict`, `assign_face_info`), with the settings of `facetracker.py`: the detector runs
  where no face is tracked, and on each third frame while fewer than wanted are. Faces that overlap by 0.3 are one; the
  surer one stays, the tracked one favoured by 0.1. Faces go to slots, nearest to the slot's last face first, however
  far. A face lives at a confidence above the threshold; where all are lost the last boxes are tried for ten frames.
"""

from __future__ import annotations

from unittest import mock

import numpy as np
from scripted_scenes import Scene, Seen

from acdc_fast.photo.detection import Search, overlap
from acdc_fast.photo.images import Picture
from acdc_fast.types import Faces, HeadPose
from acdc_fast.video import tracking

#: What a rule says of one frame: (identity, what the network said of it).
Given = list[tuple[int, Seen]]

_FIVE = np.array([[-0.2, -0.15], [0.2, -0.15], [0, 0.05], [-0.15, 0.3], [0.15, 0.3]])


class Ours:
    def __init__(self, scene: Scene, wanted: int) -> None:
        self.scene, self.frame = scene, -1
        self.tracker = tracking.Tracker(self, search=Search(max_faces=wanted))

    def step(self) -> Given:
        self.frame += 1
        with mock.patch.object(tracking, "detect", self._detect):
            faces = self.tracker.step(self.scene.picture(self.frame))
        return [(int(name), self._told[int(n)]) for name, n in zip(faces.ids, faces.pose.yaw, strict=True)]

    def _detect(self, rgb: np.ndarray, search: Search) -> tuple[np.ndarray, np.ndarray]:
        boxes = self.scene.detect(self.frame)
        return boxes.astype(np.float32), np.full(len(boxes), 0.5, np.float32)

    def align(self, image: Picture, boxes: np.ndarray, camera: None = None) -> Faces:
        """The yaw says which of the network's answers a face is."""
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        self._told = [self.scene.look(self.frame, box) for box in boxes]
        middles = np.array([(s.box[:2] + s.box[2:]) / 2 for s in self._told]).reshape(-1, 1, 2)
        number, flat = np.arange(len(boxes), dtype=np.float32), np.zeros((len(boxes), 5), np.float32)
        pose = HeadPose(number, number, number, np.tile(np.eye(3), (len(boxes), 1, 1)))
        chance = np.array([s.chance for s in self._told], np.float32)
        points = (middles + self.scene.side * _FIVE).astype(np.float32)
        return Faces(boxes.astype(np.float32), chance, {"2d5": points}, {"2d5": flat}, {"2d5": flat}, pose)


class MediaPipe:
    PRESENCE, OVERLAP, LARGER = 0.5, 0.5, 1.5

    def __init__(self, scene: Scene, wanted: int, graph: str, places: bool) -> None:
        self.scene, self.wanted, self.graph, self.places = scene, wanted, graph, places
        self.frame, self.names = -1, 0
        self.tracked: list[tuple[int, np.ndarray]] = []

    def step(self) -> Given:
        self.frame += 1
        enough = len(self.tracked) >= self.wanted
        boxes = [] if enough else self.scene.detect(self.frame)[: self.wanted]
        found = [(-1, self._rectangle(box)) for box in boxes]
        first, second = (found, self.tracked) if self.graph == "solutions" else (self.tracked, found)
        listed: list[tuple[int, np.ndarray]] = []
        for name, rectangle in (*first, *second):
            covered = [n for n, r in listed if overlap(r, rectangle) > self.OVERLAP]
            listed = [(n, r) for n, r in listed if overlap(r, rectangle) <= self.OVERLAP]
            listed.append((max([name, *covered]), rectangle))  # a rectangle in another's place goes on with its name
        if self.graph == "tasks":
            listed = listed[: self.wanted]
        given: Given = []
        self.tracked = []
        for name, rectangle in listed:
            seen = self.scene.look(self.frame, rectangle)
            if seen.chance >= self.PRESENCE:
                if name < 0:
                    name, self.names = self.names, self.names + 1
                given.append((len(given) if self.places else name, seen))
                self.tracked.append((name, self._rectangle(seen.box)))
        return given

    def _rectangle(self, box: np.ndarray) -> np.ndarray:
        """(4,) a square around it, one and a half times its longer side."""
        middle, half = (box[:2] + box[2:]) / 2, self.LARGER / 2 * (box[2:] - box[:2]).max()
        return np.concatenate([middle - half, middle + half])


class OpenSeeFace:
    THRESHOLD, SCAN_EVERY, DISCARD_AFTER, SAME, BONUS = 0.4, 3, 10, 0.3, 0.1

    def __init__(self, scene: Scene, wanted: int) -> None:
        self.scene, self.wanted, self.frame = scene, wanted, -1
        self.slots: list[np.ndarray | None] = [None] * wanted  # the middle of the last face of each
        self.boxes: list[np.ndarray] = []
        self.waited = self.lost = 0

    def step(self) -> Given:
        self.frame += 1
        self.waited += 1
        tracked, found = len(self.boxes), []
        if not tracked or (tracked < self.wanted and self.waited >= self.SCAN_EVERY):
            found, self.waited = list(self.scene.detect(self.frame)[: self.wanted]), 0
        elif tracked >= self.wanted:
            self.waited = 0
        seen = [self.scene.look(self.frame, box) for box in (*self.boxes, *found)]
        if not seen:
            return []
        given = self._to_slots(self._best([(s, self.BONUS * (j < tracked)) for j, s in enumerate(seen)]))
        if given:
            self.boxes, self.lost = [s.box for _, s in given], 0
        else:
            self.lost += 1
            self.boxes = [] if self.lost > self.DISCARD_AFTER else self.boxes
        return given

    def _best(self, seen: list[tuple[Seen, float]]) -> list[Seen]:
        """The surest of each group of faces that overlap, the surest first."""
        seen = [(s, bonus) for s, bonus in seen if s.chance > self.THRESHOLD]
        group = list(range(len(seen)))
        for i, (one, _) in enumerate(seen):
            for j, (other, _) in enumerate(seen):
                if i != j and overlap(one.box, other.box) >= self.SAME:
                    group[j] = group[i]
        best: dict[int, tuple[Seen, float]] = {}
        for g, (s, bonus) in zip(group, seen, strict=True):
            if g not in best or s.chance + bonus > best[g][0].chance + best[g][1]:
                best[g] = s, bonus
        ordered = sorted(best.values(), key=lambda pair: -(pair[0].chance + pair[1]))
        return [s for s, _ in ordered[: self.wanted]]

    def _to_slots(self, faces: list[Seen]) -> Given:
        """The nearest pair of slot and face first; slots that had no face yet come last."""
        middles = [(s.box[:2] + s.box[2:]) / 2 for s in faces]
        pairs = sorted(
            (np.inf if last is None else float(np.linalg.norm(last - m)), i, j)
            for i, last in enumerate(self.slots) for j, m in enumerate(middles)
        )  # fmt: skip
        given: dict[int, int] = {}
        for _, i, j in pairs:
            if i not in given and j not in given.values():
                given[i] = j
                self.slots[i] = middles[j]
        return [(i, faces[j]) for i, j in sorted(given.items())]
