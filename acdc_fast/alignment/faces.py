"""From what crops say to `Faces`: pixels, chances, head pose. The faces of several pictures are computed together."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from .. import forks
from ..by_value import joined, taken
from ..checks import check_finite
from ..errors import InputError
from ..photo import coordinates as geometry
from ..photo.camera import Camera, Views
from ..photo.finding import Found
from ..readout import blendshapes, border, head_shape
from ..readout.confidence import confidence
from ..readout.presence import DENIED, presence
from ..readout.reading import Reading
from ..readout.visibility import terms, visible
from ..types import Faces, HeadPose
from ..weights import Weights
from .squares import Squares, named

log = logging.getLogger(__package__)


@dataclass(frozen=True)
class FaceReadout:
    """How what one network says is told."""

    weights: Weights
    usual_spread: float  # median of faces' narrowest spread, crop units; infinite where it is not known
    presence_limit: float  # multiple of it beyond which a crop rather holds no face
    calibration: np.ndarray  # (3, P) of all maps, rows as `confidence` takes them
    markups: tuple[str, ...]  # those that are told
    camera: Camera | None = None  # the pose is that of the crop where there is none
    least: float | None = None  # found faces of a lower score are dropped; None: those that the maps deny

    def faces(self, found: list[Found], squares: Squares, reading: Reading) -> list[Faces | InputError]:
        """Those of each picture, or why it has none. Scores are multiplied by the chance that a face is there, by the
        maps. Boxes that the caller gave are all kept."""
        with forks.held_off(), np.errstate(all="ignore"):  # pictures with numbers that are not finite are left out
            errors = _errors(squares, reading)
            boxes = np.concatenate([item.boxes for item in found])
            there = presence(reading.narrowest, self.usual_spread, self.presence_limit)
            scores = np.concatenate([item.scores for item in found]) * there
            given = np.array([item.given for item in found])[squares.of]
            kept = given | (there >= DENIED if self.least is None else scores >= self.least)
            if log.isEnabledFor(logging.DEBUG):
                _log(squares, boxes, kept)
            if not kept.all():
                boxes, scores, squares, reading = boxes[kept], scores[kept], squares.part(kept), reading.part(kept)
            faces = self._faces(boxes, scores, squares, reading)
        return [
            errors[i] if i in errors else replace(taken(faces, part), source=item.picture.name)
            for i, (item, part) in enumerate(zip(found, squares.parts, strict=True))
        ]

    def _faces(self, boxes: np.ndarray, scores: np.ndarray, squares: Squares, reading: Reading) -> Faces:
        """Of all pictures, all of them kept."""
        slices, side = reading.slices, squares.values[:, 2]
        points = geometry.crop_to_image(reading.points, squares.values).astype(np.float32)
        spread = (reading.spread * side[:, None]).astype(np.float32)
        away = border.beyond(points, squares.sizes(), side)
        sure = border.less_sure(confidence(reading.spread, reading.spread.mean(1), self.calibration), away)
        pose = None if reading.pose is None else head_pose(reading.pose)
        shapes: dict[str, np.ndarray] = {}
        if pose is not None and all(markup in slices for markup in blendshapes.MARKUPS):
            shapes = blendshapes.blendshapes({m: points[:, slices[m]] for m in blendshapes.MARKUPS}, pose.matrix)
        if pose is not None and self.camera is not None:
            solid = slices[head_shape.MARKUP]
            pose = self._in_space(self.camera, squares, pose, points[:, solid], sure[:, solid])
        shown = {m: border.in_sight(chance, away[:, slices[m]]) for m, chance in self._visible(reading).items()}
        landmarks, spreads, chances = ({m: v[:, slices[m]] for m in self.markups} for v in (points, spread, sure))
        return Faces(boxes, scores, landmarks, spreads, chances, pose, visible=shown, blendshapes=shapes)

    def _visible(self, reading: Reading) -> dict[str, np.ndarray]:
        """Markup → (N, L) chance of being in sight, of the markups that are told and that the weights tell it of."""
        fitted, refinement = self.weights.visibility, self.weights.refinement
        if fitted is None or refinement is None or reading.pose is None:
            return {}
        known = terms(reading.points, reading.spread, reading.pose, refinement)
        return {markup: visible(known, fitted, markup) for markup in self.markups if markup in fitted.numbers}

    @staticmethod
    def _in_space(camera: Camera, squares: Squares, pose: HeadPose, points: np.ndarray, sure: np.ndarray) -> HeadPose:
        """Pose along the crops' rays → pose and place in the camera's frame; 3D points (N, 68, 2) in image pixels, and
        how sure they are (N, 68)."""
        poses = []
        for picture, part in zip(squares.pictures, squares.parts, strict=True):
            views = Views(camera, picture.width, picture.height, squares.values[part])
            along = pose.matrix[part]
            heads = head_shape.fit(views.seen(points[part]), along.astype(np.float64), sure[part])
            unit, out = camera.eye_corners or 1.0, views.rotation.transpose(0, 2, 1)
            matrix = along @ out
            place = (heads.position[:, None] @ out)[:, 0] * unit
            yaw, pitch, roll = (np.asarray(angle, np.float32) for angle in geometry.matrix_to_euler(matrix))
            at = place.astype(np.float32), (heads.points @ out * unit).astype(np.float32)
            poses.append(HeadPose(yaw, pitch, roll, matrix.astype(np.float32), *at))
        joint: HeadPose = joined(poses)
        return joint


def head_pose(degrees: np.ndarray) -> HeadPose:
    """(N, 3) yaw, pitch, roll in upright crops are those in the image."""
    yaw, pitch, roll = np.ascontiguousarray(degrees.T, np.float32)
    return HeadPose(yaw, pitch, roll, geometry.euler_to_matrix(yaw, pitch, roll).astype(np.float32))


def _errors(squares: Squares, reading: Reading) -> dict[int, InputError]:
    """Number of a picture → why it has no faces: the network gave numbers that are not finite."""
    found: dict[int, InputError] = {}
    if not reading.finite.all():
        for i, (picture, part) in enumerate(zip(squares.pictures, squares.parts, strict=True)):
            try:
                check_finite(reading.finite[part], f"{named(picture)}: face")
            except InputError as error:
                found[i] = error
    return found


def _log(squares: Squares, boxes: np.ndarray, kept: np.ndarray) -> None:
    for picture, part in zip(squares.pictures, squares.parts, strict=True):
        for box in boxes[part][~kept[part]].round().tolist():
            log.debug("%s: no face is given for the box %s: its score is too low", named(picture), box)
        last = squares.values[part][kept[part]]
        log.debug("%s: crops (centre, side, angle) %s", named(picture), last.tolist(), extra={"squares": last})
