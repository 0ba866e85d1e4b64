"""From pictures and boxes to `Faces`: cuts crops, runs the network, and cuts or turns again the crops that need it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from . import forks
from .by_value import joined as joined_by_value
from .checks import check_finite
from .errors import InputError
from .photo import coordinates as geometry
from .photo.camera import Camera, Views
from .photo.crops import crop_faces, crop_views
from .photo.finding import Found
from .photo.images import Picture
from .readout import blendshapes, border, head_shape, mirror_image, orientation, second_look
from .readout.confidence import confidence, narrowest_spread, spread_of
from .readout.head_pose import corrected
from .readout.predictions import finite, joined, mapped, replaced
from .readout.presence import DENIED, presence
from .readout.refinement import refined
from .readout.visibility import terms, visible
from .types import Faces, HeadPose, Prediction
from .weights import Weights

log = logging.getLogger(__name__)

#: Pictures, and pixels of pictures, that go together, and the default for crops run at a time: enough to fill a
#: GPU, little memory.
PICTURES, PIXELS, FACES = 16, 50_000_000, 32


@dataclass(frozen=True)
class Alignment:
    """How one network aligns faces."""

    weights: Weights
    run: Callable[[np.ndarray], Prediction]  # the network alone: crops (B, 1, S, S) float32, S the resolution
    resolution: int
    usual_spread: float  # median of faces' narrowest spread, crop units; infinite where it is not known
    presence_limit: float  # multiple of it beyond which a crop rather holds no face
    calibration: np.ndarray  # (3, L) of all maps, rows as `confidence` takes them
    at_a_time: int = FACES  # crops that `run` is given
    limits: second_look.Limits = second_look.USUAL  # when a crop is cut again
    camera: Camera | None = None  # pose is that of the crop where there is none
    markups: tuple[str, ...] | None = None  # those of the faces; None: all that the weights hand out
    upright: orientation.Upright | None = None  # what tells faces on their side; None: their narrowest maps alone
    mirror: bool = False  # the mean of each crop's prediction and its mirror image's
    least: float | None = None  # found faces of a lower score are dropped; None: those that the maps deny
    most: int | None = None  # found faces of a picture that are given, the largest ones

    def each(self, found: Iterable[Found | InputError]) -> Iterator[Faces | InputError]:
        """The faces of each picture by its boxes, or why it has none; in order. Several pictures go together. Scores
        are multiplied by the chance that a face is there, by the maps of the crop that was read in the end. Boxes that
        the caller gave are all kept."""
        group: list[Found | InputError] = []
        pixels = 0
        for item in found:
            group.append(item)
            pixels += 0 if isinstance(item, InputError) else item.picture.width * item.picture.height
            if len(group) == PICTURES or pixels > PIXELS:
                yield from self._group(group)
                group, pixels = [], 0
        yield from self._group(group)

    def _group(self, group: list[Found | InputError]) -> Iterator[Faces | InputError]:
        readable = [item for item in group if not isinstance(item, InputError)]
        faces = self._aligned(readable, self.most) if readable else iter(())
        for item in group:
            yield item if isinstance(item, InputError) else next(faces)

    def _aligned(self, found: list[Found], most: int | None) -> Iterator[Faces | InputError]:
        now = [item if item.given else item.part(slice(most)) for item in found]
        squares, predictions = self.read([item.picture for item in now], [item.boxes for item in now])
        for item, whole, square, prediction in zip(now, found, squares, predictions, strict=True):
            faces: Faces | InputError
            try:
                with forks.held_off():
                    faces = self._faces(item, square, prediction)
            except InputError as error:
                faces = error
            if most is not None and len(item.boxes) < len(whole.boxes) and not isinstance(faces, InputError):
                wanted = most - len(faces)  # in the place of those that were dropped
                rest = next(self._aligned([whole.part(slice(most, None))], wanted)) if wanted else faces[:0]
                faces = rest if isinstance(rest, InputError) else joined_by_value([faces, rest])
            yield faces

    def read(self, pictures: list[Picture], boxes: list[np.ndarray]) -> tuple[list[np.ndarray], list[Prediction]]:
        """For each picture the squares (N, 4) that were read in the end, of its boxes (N, 4), and what they say."""
        given = [geometry.square_from_box(each) for each in boxes]
        squares, predictions = self._recut(pictures, given, self._predicted(pictures, given))
        return self._upright(pictures, squares, predictions, given)

    def _predicted(self, pictures: list[Picture], squares: list[np.ndarray]) -> list[Prediction]:
        """One prediction for each picture, its faces in the order of its squares."""
        with forks.held_off():
            cut = [self._cut(p, s) for p, s in zip(pictures, squares, strict=True)]
        crops = np.concatenate(cut)
        whole = self._seen(crops)
        if self.mirror:
            other = self._seen(crops[..., ::-1])
            with forks.held_off(), np.errstate(all="ignore"):
                whole = mirror_image.mean(whole, mirror_image.mirrored(other))
        parted, start = [], 0
        for picture, each in zip(pictures, squares, strict=True):
            part = slice(start, start + len(each))
            one = mapped(whole, lambda values, part=part: values[part])  # type: ignore[misc]
            parted.append(self._slanted(one, picture, each))
            start = part.stop
        return parted

    def _seen(self, crops: np.ndarray) -> Prediction:
        """Of crops (N, 1, S, S), refined."""
        parts = [self.run(crops[i : i + self.at_a_time]) for i in range(0, max(1, len(crops)), self.at_a_time)]
        with forks.held_off(), np.errstate(all="ignore"):  # `_faces` refuses what is not finite
            return self._refined(joined(parts))

    def _cut(self, picture: Picture, squares: np.ndarray) -> np.ndarray:
        """(N, 1, S, S) crops: of the squares, or with a camera, as a camera turned towards each face sees it."""
        if self.camera is None:
            return crop_faces(picture.rgb, squares, self.resolution)
        views = Views(self.camera, picture.width, picture.height, squares)
        return crop_views(picture.rgb, views.matrix, views.squares[:, 2], self.resolution)

    def _slanted(self, prediction: Prediction, picture: Picture, squares: np.ndarray) -> Prediction:
        """Points of straight crops → points in the squares, for what follows."""
        if self.camera is None:
            return prediction
        views = Views(self.camera, picture.width, picture.height, squares)
        return replace(prediction, landmarks={m: views.slanted(p) for m, p in prediction.landmarks.items()})

    def _refined(self, whole: Prediction) -> Prediction:
        if self.weights.refinement:
            whole = replace(
                whole, landmarks=refined(whole.landmarks, self.weights.refinement, self.weights.config.order)
            )
        if whole.pose is not None and self.weights.pose:
            points = whole.landmarks[self.weights.config.solid[0]]
            whole = replace(whole, pose=corrected(whole.pose, points, self.weights.pose))
        return whole

    def _recut(
        self, pictures: list[Picture], squares: list[np.ndarray], predictions: list[Prediction]
    ) -> tuple[list[np.ndarray], list[Prediction]]:
        """The same with crops cut again that do not fit their faces; see `second_look`."""
        if not np.isfinite(self.usual_spread):
            return squares, predictions
        moved: list[np.ndarray | None] = [None] * len(pictures)
        for _ in range(second_look.CUTS):
            with forks.held_off():
                fits = [second_look.Fit(p, self.usual_spread, self.limits) for p in predictions]
                new = [second_look.new_squares(*each) for each in zip(squares, fits, moved, strict=True)]
            if not any(len(faces) for _, faces, _ in new):
                break
            again = self._predicted(pictures, [each for each, _, _ in new])
            squares, predictions = list(squares), list(predictions)
            for i, (each, faces, limits) in enumerate(new):
                with forks.held_off():
                    fit = second_look.Fit(again[i], self.usual_spread, self.limits)
                to, source = second_look.chosen(fits[i], fit, faces, limits)
                for face in np.unique(faces).tolist():
                    outcome = "a crop that fits better is taken" if face in to else "no crop fits better"
                    log.debug("%s: face %d, cut again: %s", _name(pictures[i]), face, outcome)
                squares[i], moved[i] = np.array(squares[i]), to
                squares[i][to] = each[source]
                predictions[i] = replaced(predictions[i], to, again[i], source)
        return squares, predictions

    def _upright(
        self,
        pictures: list[Picture],
        squares: list[np.ndarray],
        predictions: list[Prediction],
        given: list[np.ndarray],
    ) -> tuple[list[np.ndarray], list[Prediction]]:
        """Squares and predictions, where faces on their side or upside down are seen in a turned crop; the rule is in
        `orientation`. The ``given`` squares are turned, not the later ones: points of such a face are wrong, so
        no crop may be cut around them."""
        judge = orientation.Judge(self.usual_spread, self.upright, self.weights.config.order)
        with forks.held_off():
            doubts = [judge.doubt(prediction) for prediction in predictions]
            doubted = [np.flatnonzero(doubt > 0) for doubt in doubts]
        if not any(len(faces) for faces in doubted):
            return squares, predictions
        turned = [orientation.turned_squares(s[faces]) for s, faces in zip(given, doubted, strict=True)]
        again = self._predicted(pictures, turned)
        settled = []
        for i, faces in enumerate(doubted):
            with forks.held_off():
                in_turns = judge.doubt(again[i]).reshape(-1, len(orientation.TURNS))
                better = doubts[i][faces, None] - in_turns - judge.gain
                settled.append(orientation.best_turn(squares[i], predictions[i], faces, turned[i], again[i], better))
            for face, others in zip(faces.tolist(), in_turns.round(1), strict=True):
                log.debug(
                    "%s: face %d is perhaps not upright (doubt %.1f), turned by 90, 180, 270 degrees %s",
                    _name(pictures[i]), face, doubts[i][face], others,
                )  # fmt: skip
        return [s for s, _ in settled], [p for _, p in settled]

    def _faces(self, found: Found, squares: np.ndarray, prediction: Prediction) -> Faces:
        """Crop units → image pixels, of the faces that are kept."""
        picture = found.picture
        check_finite(finite(prediction), f"{picture.name or 'image'}: face")
        there = presence(narrowest_spread(prediction), self.usual_spread, self.presence_limit)
        scores = found.scores * there
        kept = there >= DENIED if self.least is None else scores >= self.least
        kept |= found.given
        for box in found.boxes[~kept].round().tolist():
            log.debug("%s: no face is given for the box %s: its score is too low", _name(picture), box)
        boxes, scores, squares = found.boxes[kept], scores[kept], squares[kept]
        prediction = mapped(prediction, lambda values: values[kept])
        log.debug("%s: crops (centre, side, angle) %s", _name(picture), squares.tolist(), extra={"squares": squares})
        slices = self.weights.config.slices  # all points at once: numpy's calls cost more than its sums here
        points = np.concatenate([prediction.landmarks[name] for name in slices], 1)
        points = geometry.crop_to_image(points, squares).astype(np.float32)
        blur = spread_of(np.concatenate([prediction.covariance[name] for name in slices], 1))
        spread = (blur * squares[:, 2:3]).astype(np.float32)
        away = border.beyond(points, picture.width, picture.height, squares[:, 2])
        sure = border.less_sure(confidence(blur, blur.mean(1), self.calibration), away)
        pose = None if prediction.pose is None else head_pose(np.asarray(prediction.pose))
        shapes = {} if pose is None else self._blendshapes(points, pose.matrix)
        if self.camera is not None and pose is not None:
            solid = slices[head_shape.MARKUP]
            pose = self._in_space(self.camera, picture, squares, pose, points[:, solid], sure[:, solid])
        landmarks, spreads, confidences = (
            {name: values[:, slices[name]] for name in self._markups} for values in (points, spread, sure)
        )
        shown = {m: border.in_sight(v, away[:, slices[m]]) for m, v in self._visible(prediction, blur).items()}
        told = landmarks, spreads, confidences, pose, picture.name
        return Faces(boxes, scores, *told, visible=shown, blendshapes=shapes)

    def _blendshapes(self, points: np.ndarray, matrix: np.ndarray) -> dict[str, np.ndarray]:
        """Name → (N,) of (N, L, 2) points of all markups and the pose (N, 3, 3) in their crops."""
        slices = self.weights.config.slices
        if not all(markup in slices for markup in blendshapes.MARKUPS):
            return {}
        return blendshapes.blendshapes({markup: points[:, slices[markup]] for markup in blendshapes.MARKUPS}, matrix)

    def _visible(self, prediction: Prediction, blur: np.ndarray) -> dict[str, np.ndarray]:
        """Markup → (N, L) chance of being in sight, of the markups handed out that the weights tell it of."""
        fitted, refinement, order = self.weights.visibility, self.weights.refinement, self.weights.config.order
        if fitted is None or refinement is None or prediction.pose is None:
            return {}
        spread = {name: blur[:, part] for name, part in self.weights.config.slices.items()}
        known = terms(prediction.landmarks, spread, np.asarray(prediction.pose), refinement, order)
        return {name: visible(known, fitted, name) for name in self._markups if name in fitted.numbers}

    @property
    def _markups(self) -> tuple[str, ...]:
        return self.weights.handed_out if self.markups is None else self.markups

    def _in_space(
        self,
        camera: Camera,
        picture: Picture,
        squares: np.ndarray,
        pose: HeadPose,
        points: np.ndarray,
        sure: np.ndarray,
    ) -> HeadPose:
        """Pose along the crops' rays → pose and place in the camera's frame; 3D points (N, 68, 2) in image pixels."""
        views = Views(camera, picture.width, picture.height, squares)
        heads = head_shape.fit(views.seen(points), pose.matrix.astype(np.float64), sure)
        matrix = pose.matrix @ views.rotation.transpose(0, 2, 1)
        unit, out = camera.eye_corners or 1.0, views.rotation.transpose(0, 2, 1)
        place = (heads.position[:, None] @ out)[:, 0] * unit
        yaw, pitch, roll = (np.asarray(angle, np.float32) for angle in geometry.matrix_to_euler(matrix))
        at = place.astype(np.float32), (heads.points @ out * unit).astype(np.float32)
        return HeadPose(yaw, pitch, roll, matrix.astype(np.float32), *at)


def _name(picture: Picture) -> str:
    return picture.name or "image"


def head_pose(degrees: np.ndarray) -> HeadPose:
    """(N, 3) yaw, pitch, roll in upright crops are those in the image."""
    yaw, pitch, roll = np.ascontiguousarray(degrees.T, np.float32)
    return HeadPose(yaw, pitch, roll, geometry.euler_to_matrix(yaw, pitch, roll).astype(np.float32))
