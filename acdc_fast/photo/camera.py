"""The camera that took a picture, and how a face away from the picture's middle looks to one that faces it.

A crop shows its face as seen along the crop's ray. A face that looks along the camera's axis, but stands to the side,
is seen at a slant; the picture's plane cuts that ray at a slant too and stretches the face. `Views` undoes both: a
camera that is turned towards the crop's middle, by the shortest way, sees the face straight on.

Frames as in `photo.coordinates`: x to the right, y up, z towards the viewer, so that what is seen has z < 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from .coordinates import Floats, crop_to_image, image_to_crop

#: Across the longest side, degrees: of a phone's main camera, and of a lens of 31 mm on 36 mm of film.
USUAL_FIELD_OF_VIEW = 60.0
#: Width in millimetres of the film (35 mm film) for which makers state focal lengths.
FILM = 36.0
#: A focal length below this share of the longest side is none in pixels: the picture would show 179 degrees.
SHORTEST = 0.01
#: A picture of a camera's does not lie farther aside than this, in degrees from where it looks: 170 across at most.
WIDEST = 85.0


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion.

    ``matrix``: 3×3, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels, centres of pixels at whole numbers, as OpenCV's
    calibration gives it; it is of pictures of this size alone. ``field_of_view``: degrees across the longest side,
    where there is no matrix (None: 60); the middle of the picture is then the camera's. ``eye_corners``: millimetres
    between the outer corners of the person's eyes, 90 for many adults; translations then are in millimetres.
    Raises `InputError` for numbers that no camera or face has, and for a matrix and a field of view at once; a matrix
    that cannot be of a picture's size is told when the picture comes.
    """

    matrix: Any = None
    field_of_view: float | None = None
    eye_corners: float | None = None

    def __post_init__(self) -> None:
        if self.matrix is None:
            if self.field_of_view is None:
                object.__setattr__(self, "field_of_view", USUAL_FIELD_OF_VIEW)
        else:
            if self.field_of_view is not None:
                raise InputError("a camera has a matrix or a field_of_view, not both: the matrix tells it")
            try:
                matrix = np.array(self.matrix, np.float64)
            except (TypeError, ValueError) as error:
                raise InputError(f"a camera's matrix holds 3×3 numbers ({error})") from error
            wanted = "[[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx and fy above 0"
            zeros = matrix.shape == (3, 3) and matrix[0, 1] == matrix[1, 0] == 0 and (matrix[2] == (0, 0, 1)).all()
            if not zeros or not np.isfinite(matrix).all() or min(matrix[0, 0], matrix[1, 1]) <= 0:
                raise InputError(f"a camera's matrix must be {wanted}")
            object.__setattr__(self, "matrix", tuple(map(tuple, matrix.tolist())))
        for name, most in (("field_of_view", 170), ("eye_corners", 1000)):
            value = getattr(self, name)
            if value is None:  # not told, or told by the matrix
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= most:
                raise InputError(f"a camera's {name} must be a number from 1 to {most}, not {str(value)[:40]!r}")

    def numbers(self, width: int, height: int) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy in pixels for a picture of this size. Raises `InputError` where the matrix cannot be of it."""
        if self.matrix is not None:
            (fx, _, cx), (_, fy, cy), _ = self.matrix
            of = f"of the camera's matrix cannot be for a picture of {width}×{height}"
            if min(fx, fy) < SHORTEST * max(width, height):
                raise InputError(f"fx {fx:g}, fy {fy:g} {of}: they are focal lengths in pixels")
            for centre, focal, side in ((cx, fx, width), (cy, fy, height)):
                aside = max(-centre, centre - (side - 1), 0)  # pixels from the picture's nearest edge
                if aside > focal * np.tan(np.deg2rad(WIDEST)):
                    raise InputError(f"cx {cx:g}, cy {cy:g} {of}: they are where the camera looks, in its pixels")
            return fx, fy, cx, cy
        angle = np.deg2rad(self.field_of_view or USUAL_FIELD_OF_VIEW)
        focal = max(width, height) / 2 / np.tan(angle / 2)
        return focal, focal, (width - 1) / 2, (height - 1) / 2


class Views:
    """N squares (N, 4) of a picture, each as a camera sees it that is turned towards its middle: straight crops."""

    def __init__(self, camera: Camera, width: int, height: int, squares: np.ndarray) -> None:
        self._numbers, self.squares = camera.numbers(width, height), np.asarray(squares, np.float64).reshape(-1, 4)
        ray = self._rays(self.squares[:, None, :2])[:, 0]
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        #: (N, 3, 3): from the turned camera's frame to the camera's own, X_camera = rotation · X_turned.
        self.rotation = _shortest_turn(ray)
        #: (N, 3, 3): straight crop units (u, v, 1) → pixels of the picture, times their third number.
        self.matrix = self._projection(np.sqrt(self._numbers[0] * self._numbers[1]) / (-ray[:, 2]) ** 1.5)

    def _projection(self, focal: np.ndarray) -> Floats:
        """``focal``: of the turned cameras. Its power of the cosine keeps the area of a crop's middle."""
        fx, fy, cx, cy = self._numbers
        size = self.squares[:, 2] / focal
        c, s = size * np.cos(np.deg2rad(self.squares[:, 3])), size * np.sin(np.deg2rad(self.squares[:, 3]))
        one = np.ones_like(c)
        # Crop units → a ray of the turned camera, y up; as `coordinates.crop_to_image_matrix` turns by the angle.
        ray = np.stack([c, -s, (s - c) / 2, -s, -c, (s + c) / 2, 0 * c, 0 * c, -one], 1).reshape(-1, 3, 3)
        matrix: Floats = np.array([[fx, 0, -cx], [0, -fy, -cy], [0, 0, -1]]) @ self.rotation @ ray
        return matrix

    def _rays(self, points: np.ndarray) -> Floats:
        fx, fy, cx, cy = self._numbers
        x, y = (points[..., 0] - cx) / fx, (cy - points[..., 1]) / fy
        return np.stack([x, y, -np.ones_like(x)], -1)

    def seen(self, points: ArrayLike) -> Floats:
        """(N, L, 2) pixels of the picture → (N, L, 2) x and y (up) over the distance along the turned camera's axis."""
        turned = self._rays(np.asarray(points, np.float64)) @ self.rotation
        return turned[..., :2] / np.maximum(-turned[..., 2:], 1e-3)

    def straight(self, points: ArrayLike) -> Floats:
        """(N, L, 2) crop units of the squares → those of the straight crops."""
        return _mapped(np.linalg.inv(self.matrix), crop_to_image(points, self.squares))

    def slanted(self, points: ArrayLike) -> Floats:
        """(N, L, 2) crop units of the straight crops → those of the squares."""
        return image_to_crop(_mapped(self.matrix, np.asarray(points, np.float64)), self.squares)


def _mapped(matrix: np.ndarray, points: np.ndarray) -> Floats:
    """(N, 3, 3) projective maps of (N, L, 2)."""
    homogeneous = np.concatenate([points, np.ones_like(points[..., :1])], -1) @ matrix.transpose(0, 2, 1)
    mapped: Floats = homogeneous[..., :2] / homogeneous[..., 2:]
    return mapped


def _shortest_turn(ray: np.ndarray) -> Floats:
    """(N, 3) unit vectors with z < 0 → (N, 3, 3) rotations that take (0, 0, −1) to them (Rodrigues)."""
    x, y, z = ray.T
    o = np.zeros_like(x)
    cross = np.stack([o, o, x, o, o, y, -x, -y, o], 1).reshape(-1, 3, 3) * -1.0
    turn: Floats = np.eye(3) + cross + cross @ cross / (1 - z)[:, None, None]
    return turn
