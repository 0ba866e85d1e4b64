"""What the package hands out: frozen, with units and signs stated. Of ours it imports `by_value` alone.

Crop units: pixel (row y, column x) of a W×H crop has its centre at ((x + ½)/W, (y + ½)/H), so coordinates lie in
(0, 1) whatever the resolution. Image pixels: pixel centres at integer coordinates, x to the right, y down.
Pose: degrees, R = R_z(roll)·R_y(yaw)·R_x(pitch), the convention of 300W-LP and AFLW2000-3D.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .by_value import ByValue, index_of, taken

if TYPE_CHECKING:
    import pandas

Array = Any  # numpy array or torch tensor: what came in goes out

#: Faces that a `repr` lists; the others it counts.
LISTED = 20


class Moments(NamedTuple):
    """Moments of attention maps (eq. 2 and 3)."""

    mean: Array  # (B, L, 2) x, y in crop units
    covariance: Array  # (B, L, 3) xx, xy, yy in crop units squared
    peak: Array  # (B, L) largest value of the map


@dataclass(frozen=True, eq=False, repr=False)
class Prediction(ByValue):
    """Output of the network for a batch of B crops, after its last stage."""

    landmarks: dict[str, Array]  # markup -> (B, L, 2) crop units
    covariance: dict[str, Array]  # markup -> (B, L, 3) xx, xy, yy, crop units squared
    pose: Array | None  # (B, 3) yaw, pitch, roll in degrees; None for variant "ac"
    mask: Array | None  # (B, 1, H, W) Φ of eq. 4
    stages: tuple[Prediction, ...] | None = None  # one per stage, last one last; only where all_stages=True
    depth: Array | None = None  # (B,) int, stages that each crop ran; only where it may end early

    def __repr__(self) -> str:
        first = next(iter(self.landmarks.values()), None)
        count, kind = (0, "no") if first is None else (len(first), type(first).__module__.split(".")[0])
        listed = ", ".join([*self.landmarks, *([] if self.pose is None else ["pose"])])
        return f"Prediction({count} {'crop' if count == 1 else 'crops'}: {listed}; {kind} arrays)"


@dataclass(frozen=True, eq=False, repr=False)
class HeadPose(ByValue):
    """Head pose of N faces: angles in degrees, (N,) float32 each.

    Signs, for the person in the picture: yaw > 0 turns the face to the image's left, pitch > 0 lifts the chin, roll > 0
    tilts the head clockwise as seen in the image.
    """

    yaw: np.ndarray
    pitch: np.ndarray
    roll: np.ndarray
    matrix: np.ndarray  # (N, 3, 3) rotation
    #: (N, 3) float32, where a camera was given: the place between the outer eye corners in the camera's frame, x right,
    #: y up, z towards the viewer (below 0). In distances between the outer eye corners, or millimetres.
    translation: np.ndarray | None = None
    points: np.ndarray | None = None  # (N, 68, 3) float32, same frame and unit: the 3D 68 points of a fitted head

    @property
    def quaternion(self) -> np.ndarray:
        """(N, 4) float32 w, x, y, z of ``matrix``, w ≥ 0. Its conjugate turns the head's axes into the camera's."""
        m = self.matrix.astype(np.float64)
        trace = m[:, 0, 0] + m[:, 1, 1] + m[:, 2, 2]
        # All ten products of two components; the row of the largest is well conditioned.
        products = np.empty((len(m), 4, 4))
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            products[:, i + 1, i + 1] = 1 + 2 * m[:, i, i] - trace
            products[:, 0, i + 1] = products[:, i + 1, 0] = m[:, k, j] - m[:, j, k]
            products[:, j + 1, i + 1] = products[:, i + 1, j + 1] = m[:, i, j] + m[:, j, i]
        products[:, 0, 0] = 1 + trace
        largest = np.einsum("nii->ni", products).argmax(1)
        row = products[np.arange(len(m)), largest]
        row /= np.linalg.norm(row, axis=1, keepdims=True)
        return np.asarray(np.where(row[:, :1] < 0, -row, row), np.float32)

    def to_opencv(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Rotation (N, 3, 3) and translation (N, 3) of X_camera = rotation · X_head + translation in OpenCV's frame: x
        right, y down, z ahead of the camera. X_head has x right, y up and z out of the face, for a face seen from the
        front. The translation is None where no camera was given."""
        flip = np.array([1, -1, -1], np.float32)
        place = None if self.translation is None else self.translation * flip
        return flip[:, None] * self.matrix.transpose(0, 2, 1), place

    def __repr__(self) -> str:
        count = len(self.yaw)  # no `__len__`: a pose of no faces would be false
        return "\n".join([f"HeadPose({count})", *_listed(count, lambda i: f"  {i}: {self._angles(i)}")])

    def _angles(self, i: int) -> str:
        return f"yaw {self.yaw[i]:+.1f}°, pitch {self.pitch[i]:+.1f}°, roll {self.roll[i]:+.1f}°"


@dataclass(frozen=True, eq=False, repr=False)
class Faces(ByValue):
    """N aligned faces of one image. N = 0 gives empty arrays of these shapes."""

    boxes: np.ndarray  # (N, 4) float32 xyxy, image pixels
    #: (N,) float32 in [0, 1]: the detector's confidence, 1 for boxes that the caller gave, times the chance that a face
    #: is there by the maps.
    scores: np.ndarray
    landmarks: dict[str, np.ndarray]  # markup -> (N, L, 2) float32, image pixels
    spread: dict[str, np.ndarray]  # markup -> (N, L) float32, pixels: root of the map's second moment
    confidence: dict[str, np.ndarray]  # markup -> (N, L) float32 in [0, 1], 1 = certain
    pose: HeadPose | None  # None where the weights have no pose head
    source: str | None = field(default=None, compare=False)  # path of the image, where one was given
    ids: np.ndarray | None = None  # (N,) int64: a number that stays with a face from frame to frame; None in one image
    visible: dict[str, np.ndarray] = field(default_factory=dict)  # markup -> (N, L) float32 in [0, 1], 1 = in sight
    #: Name of an expression as phones give it, such as "jawOpen", -> (N,) float32 in [0, 1], 1 = full. Left and right
    #: are the person's own. Empty where the weights lack the points that it is read from.
    blendshapes: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Faces:
        """Some faces as `Faces` of their own. The index is that of an array's first axis: a whole number (one face), a
        slice, a list or array of numbers, or N truth values. Raises `IndexError` where there is no such face.
        """
        index = index_of(index, len(self))
        return replace(self, **{f.name: taken(getattr(self, f.name), index) for f in fields(self)})

    def __iter__(self) -> Iterator[Faces]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        of = f" of {self.source}" if self.source else ""
        return "\n".join([f"Faces({len(self)}{of})", *_listed(len(self), self.line)])

    def line(self, i: int) -> str:
        """Face i in one line, for people."""
        x0, y0, x1, y1 = self.boxes[i]
        line = f"  face {i}: box {x0:.0f},{y0:.0f}–{x1:.0f},{y1:.0f}, score {self.scores[i]:.2f}"
        if self.ids is not None:
            line += f", id {self.ids[i]}"
        return line if self.pose is None else f"{line}, {self.pose._angles(i)}"

    def to_dict(self) -> dict[str, Any]:
        """``{"image": path or None, "faces": […]}``: plain numbers, rounded, one entry a face with ``box`` (xyxy),
        ``score``, ``pose`` (degrees, or None), ``landmarks``, ``spread``, ``confidence`` and ``visible`` by markup,
        ``blendshapes`` by name, and ``id`` where there are ids. The layout is that of the command line's JSON.
        """
        return {"image": self.source, "faces": [self._entry(i) for i in range(len(self))]}

    def _entry(self, i: int) -> dict[str, Any]:
        angles = ("yaw", "pitch", "roll")
        pose: dict[str, Any] | None = None
        if self.pose is not None:
            pose = {name: round(float(getattr(self.pose, name)[i]), 3) for name in angles}
        if pose is not None and self.pose is not None and self.pose.translation is not None:
            pose["translation"] = _rounded(self.pose.translation[i], 4)
        return {
            "box": _rounded(self.boxes[i], 2),
            "score": round(float(self.scores[i]), 4),
            "pose": pose,
            "landmarks": {name: _rounded(points[i], 3) for name, points in self.landmarks.items()},
            "spread": {name: _rounded(values[i], 3) for name, values in self.spread.items()},
            "confidence": {name: _rounded(values[i], 4) for name, values in self.confidence.items()},
            "visible": {name: _rounded(values[i], 4) for name, values in self.visible.items()},
            "blendshapes": {name: round(float(values[i]), 4) for name, values in self.blendshapes.items()},
            **({} if self.ids is None else {"id": int(self.ids[i])}),
        }

    def to_pandas(self) -> pandas.DataFrame:
        """A table with one row a face, in pixels and degrees. Columns: ``image``, ``id`` where there are ids, ``x0``,
        ``y0``, ``x1``, ``y1``, ``score``, ``yaw``, ``pitch``, ``roll``, with a camera ``translation_x``, ``_y`` and
        ``_z``, and for each point k of a markup such as 2d68 ``2d68_x{k}``, ``2d68_y{k}``, ``2d68_spread{k}``,
        ``2d68_confidence{k}``, and ``2d68_visible{k}`` where the weights tell it; then ``blendshape_jawOpen`` and so
        on. Needs pandas, else `ImportError`.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(f"to_pandas needs pandas ({error}): pip install pandas") from error
        columns: dict[str, Any] = {"image": [self.source] * len(self)}
        if self.ids is not None:
            columns["id"] = self.ids
        columns |= dict(zip(("x0", "y0", "x1", "y1"), self.boxes.T, strict=True)) | {"score": self.scores}
        if self.pose is not None:
            columns |= {"yaw": self.pose.yaw, "pitch": self.pose.pitch, "roll": self.pose.roll}
            if self.pose.translation is not None:
                columns |= {f"translation_{axis}": self.pose.translation[:, k] for k, axis in enumerate("xyz")}
        for name, points in self.landmarks.items():
            parts = {"x": points[..., 0], "y": points[..., 1]}
            parts |= {"spread": self.spread[name], "confidence": self.confidence[name]}
            parts |= {"visible": self.visible[name]} if name in self.visible else {}
            columns |= {f"{name}_{part}{k}": v for part, values in parts.items() for k, v in enumerate(values.T)}
        columns |= {f"blendshape_{name}": values for name, values in self.blendshapes.items()}
        return pandas.DataFrame(columns)


def _listed(count: int, line: Callable[[int], str]) -> list[str]:
    lines = [line(i) for i in range(min(count, LISTED))]
    return lines if count <= LISTED else [*lines, f"  … and {count - LISTED} more"]


def _rounded(array: np.ndarray, digits: int) -> list[Any]:
    values: list[Any] = np.round(array.astype(np.float64), digits).tolist()
    return values
