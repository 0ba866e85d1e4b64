"""Reads faces in squares of pictures: the network on crops, which are cut or turned again where they do not fit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .. import forks
from ..photo.camera import Camera
from ..readout import mirror_image, orientation, second_look
from ..readout.head_pose import corrected
from ..readout.predictions import joined
from ..readout.reading import Reading, reading_of
from ..readout.refinement import refined
from ..types import Prediction
from ..weights import Weights
from .squares import Squares

log = logging.getLogger(__package__)

#: The default for crops run at a time: enough to fill a GPU, little memory.
CROPS = 32


@dataclass(frozen=True)
class Reader:
    """How one network reads crops. The squares of several pictures are read together."""

    weights: Weights
    run: Callable[[np.ndarray], Prediction]  # the network alone: crops (B, 1, S, S) float32, S the resolution
    resolution: int
    usual_spread: float  # median of faces' narrowest spread, crop units; infinite where it is not known
    at_a_time: int = CROPS  # crops that `run` is given
    limits: second_look.Limits = second_look.USUAL  # when a crop is cut again
    camera: Camera | None = None  # crops are as a camera turned towards the face sees it
    upright: orientation.Upright | None = None  # what tells faces on their side; None: their narrowest maps alone
    mirror: bool = False  # the mean of each crop's prediction and its mirror image's

    def read(self, given: Squares) -> tuple[Squares, Reading]:
        """The squares that were read in the end, and what they say."""
        with np.errstate(all="ignore"):  # what is not finite is told apart in the end
            squares, reading = self._second_look(given, self.seen(given))
            return self._upright(given, squares, reading)

    def seen(self, squares: Squares) -> Reading:
        """What crops by these squares say."""
        with forks.held_off():
            crops = squares.crops(self.resolution, self.camera)
        whole = self._predicted(crops)
        other = self._predicted(crops[..., ::-1]) if self.mirror else None
        with forks.held_off():
            if other is not None:
                whole = mirror_image.mean(whole, mirror_image.mirrored(other))
            reading = reading_of(whole, self.weights.config.slices)
            if self.camera is not None:
                points = squares.slanted(reading.points, self.camera)
                reading = replace(reading, points=points, finite=reading.finite & np.isfinite(points).all((1, 2)))
        return reading

    def _predicted(self, crops: np.ndarray) -> Prediction:
        """Of crops (N, 1, S, S), refined."""
        parts = [self.run(crops[i : i + self.at_a_time]) for i in range(0, max(1, len(crops)), self.at_a_time)]
        with forks.held_off():
            whole = joined(parts)
            if self.weights.refinement:
                order = self.weights.config.order
                whole = replace(whole, landmarks=refined(whole.landmarks, self.weights.refinement, order))
            if whole.pose is not None and self.weights.pose:
                points = whole.landmarks[self.weights.config.solid[0]]
                whole = replace(whole, pose=corrected(whole.pose, points, self.weights.pose))
        return whole

    def _second_look(self, squares: Squares, reading: Reading) -> tuple[Squares, Reading]:
        """The same with crops cut again that do not fit their faces; see `second_look`."""
        if not np.isfinite(self.usual_spread):
            return squares, reading
        moved = None
        for _ in range(second_look.CUTS):
            with forks.held_off():
                fit = second_look.Fit(reading, self.usual_spread, self.limits)
                values, faces, limits = second_look.new_squares(squares.values, fit, moved)
            if not len(faces):
                break
            again = self.seen(squares.part(faces, values))
            with forks.held_off():
                new = second_look.Fit(again, self.usual_spread, self.limits)
                moved, source = second_look.chosen(new, faces, limits)
            if log.isEnabledFor(logging.DEBUG):
                for face in np.unique(faces).tolist():
                    outcome = "a crop that fits better is taken" if face in moved else "no crop fits better"
                    log.debug("%s, cut again: %s", squares.named(face), outcome)
            squares = replace(squares, values=squares.values.copy())
            squares.values[moved] = values[source]
            reading = reading.replaced(moved, again, source)
        return squares, reading

    def _upright(self, given: Squares, squares: Squares, reading: Reading) -> tuple[Squares, Reading]:
        """The same, where faces on their side or upside down are seen in a turned crop; the rule is in `orientation`.
        The ``given`` squares are turned, not the later ones: points of such a face are wrong, so no crop may be cut
        around them."""
        judge = orientation.Judge(self.usual_spread, self.upright)
        with forks.held_off():
            doubt = judge.doubt(reading)
            recut = (squares.values != given.values).any(1)
            faces = np.flatnonzero(judge.asks(doubt, recut))
        if not len(faces):
            return squares, reading
        turned = orientation.turned_squares(given.values[faces])
        again = self.seen(given.part(np.repeat(faces, len(orientation.TURNS)), turned))
        with forks.held_off():
            in_turns = judge.doubt(again).reshape(-1, len(orientation.TURNS))
            better = judge.better(doubt[faces, None], in_turns)
            values, reading = orientation.best_turn(squares.values, reading, faces, turned, again, better)
        if log.isEnabledFor(logging.DEBUG):
            for face, others in zip(faces.tolist(), in_turns.round(1), strict=True):
                log.debug(
                    "%s is perhaps not upright (doubt %.1f), turned by 90, 180, 270 degrees %s",
                    squares.named(face), doubt[face], others,
                )  # fmt: skip
        return replace(squares, values=values), reading
