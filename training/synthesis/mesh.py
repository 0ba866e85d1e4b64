"""The ICT-FaceKit head as arrays, ready for the renderer.

Head frame: x to the head's left (the image's right in a frontal view), y up, z out of the face; centimetres.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from acdc_fast import _native
from acdc_fast.errors import InputError

from ..data.arrays import NOT_ARRAYS

FILE = "ict_facekit.npz"

#: Vertex ranges of the parts in the file. Lashes and eye fluids (24591…) are left out. Lashes are painted.
PARTS = {
    "face": (0, 9409),
    "head": (9409, 11248),
    "mouth": (11248, 13294),
    "socket": (13294, 14062),
    "gums": (14062, 17039),
    "teeth": (17039, 21451),
    "eyes": (21451, 24591),
}
PART = {name: number for number, name in enumerate(PARTS)}
IRISES = ((22221, 23021), (23791, 24591))  # vertices of the two irises; the lower x is the image-left eye

#: Identity components in use, of 100. Each of the others moves no vertex by more than 0.02 cm (one σ).
COMPONENTS = 60


@dataclass(frozen=True, eq=False)
class FaceModel:
    """V vertices, T triangles: the data that no person changes. Compared by identity."""

    neutral: np.ndarray  # (V, 3) float32
    identity: np.ndarray  # (K, V * 3) float32 offsets, one standard deviation each
    expression: dict[str, np.ndarray]  # name -> (V, 3) float32 offsets at full strength
    triangles: np.ndarray  # (T, 3) int32, counter-clockwise seen from outside
    part: np.ndarray  # (V,) uint8, see PART
    uv: np.ndarray  # (V, 2) float32 in [0, 1]: layout of the face; elsewhere the value of the nearest face vertex
    irises: tuple[np.ndarray, np.ndarray]  # vertices of the image-left and image-right iris of a frontal face

    @cached_property
    def face_triangles(self) -> np.ndarray:
        """Triangles of the face's skin, which the texture layout covers."""
        return np.asarray(self.triangles[(self.part[self.triangles] == PART["face"]).all(1)])

    @cached_property
    def eye_vertices(self) -> tuple[np.ndarray, np.ndarray]:
        """Vertices of the two eyeballs, image-left first."""
        eyes = np.flatnonzero(self.part == PART["eyes"])
        left = self.neutral[eyes, 0] < 0
        return eyes[left], eyes[~left]

    @cached_property
    def _layout(self) -> tuple[np.ndarray, int]:
        """(size, size) the face triangle of each cell of the texture layout, −1 for none; and the size."""
        size = 1024
        flat = np.column_stack([self.uv * size - 0.5, np.zeros(len(self.uv))]).astype(np.float32)
        empty = np.zeros((len(flat), 0), np.float32)
        owner, _, _ = _native.rasterize(flat, self.face_triangles, empty, size, size, False)
        return owner, size

    def locate(self, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places on the face of points (P, 2) of the texture layout: vertices (P, 3) and their weights (P, 3)."""
        owner, size = self._layout
        cells = np.clip((np.asarray(uv) * size).astype(int), 0, size - 1)
        found = owner[cells[:, 1], cells[:, 0]]
        if (found < 0).any():  # a hole of the layout (eyes, mouth): take the nearest covered cell
            rows, columns = np.nonzero(owner >= 0)
            for i in np.flatnonzero(found < 0):
                near = np.argmin((rows - cells[i, 1]) ** 2 + (columns - cells[i, 0]) ** 2)
                found[i] = owner[rows[near], columns[near]]
        corners = self.face_triangles[found]
        a, b, c = (self.uv[corners[:, k]].astype(np.float64) for k in range(3))
        p = np.asarray(uv, np.float64)
        area = _cross(b - a, c - a)
        weights = np.stack([_cross(b - p, c - p), _cross(c - p, a - p), _cross(a - p, b - p)], 1) / area[:, None]
        weights = np.clip(weights, 0, None)
        return corners, (weights / weights.sum(1, keepdims=True)).astype(np.float32)

    @cached_property
    def visibility(self) -> np.ndarray:
        """(V, 9) spherical harmonics of the part of the sky that each vertex of the neutral head sees."""
        from .light import sky_visibility

        return sky_visibility(self.neutral, self.triangles)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def load_model(path: Path) -> FaceModel:
    """Reads the model from its ``.npz`` or from the folder that holds it. Raises `InputError` with what is missing."""
    path = path / FILE if path.is_dir() else path
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {key: file[key] for key in file.files}
    except NOT_ARRAYS as error:
        raise InputError(f"{path}: cannot be read as the ICT-FaceKit model: {error}") from error
    wanted = ("neutral", "identity", "expression", "expression_names", "faces", "uv", "faces_uv")
    missing = [key for key in wanted if key not in data]
    if missing:
        raise InputError(f"{path}: holds no array {missing[0]!r}; is it the packed ICT-FaceKit model?")
    return build(data)


def build(data: dict[str, np.ndarray]) -> FaceModel:
    """The model from the arrays of its file."""
    count = min(PARTS["eyes"][1], len(data["neutral"]))
    neutral = np.ascontiguousarray(data["neutral"][:count], np.float32)
    faces, faces_uv = data["faces"], data["faces_uv"]
    kept = faces.max(1) < count
    faces, faces_uv = faces[kept], faces_uv[kept]
    quads = faces[:, 3] >= 0
    triangles = np.concatenate([faces[:, :3], faces[quads][:, [0, 2, 3]]]).astype(np.int32)
    part = np.zeros(count, np.uint8)
    for name, (start, end) in PARTS.items():
        part[start : min(end, count)] = PART[name]
    components = data["identity"][:COMPONENTS, :count].astype(np.float32)
    expression = {
        str(name): np.ascontiguousarray(offsets[:count], np.float32)
        for name, offsets in zip(data["expression_names"], data["expression"], strict=True)
    }
    left, right = (np.arange(start, min(end, count)) for start, end in IRISES)
    if neutral[left, 0].mean() > neutral[right, 0].mean():
        left, right = right, left
    return FaceModel(
        neutral=neutral,
        identity=components.reshape(len(components), -1),
        expression=expression,
        triangles=triangles,
        part=part,
        uv=_face_layout(neutral, part, faces, faces_uv, data["uv"]),
        irises=(left, right),
    )


def _face_layout(
    neutral: np.ndarray, part: np.ndarray, faces: np.ndarray, faces_uv: np.ndarray, uv: np.ndarray
) -> np.ndarray:
    """(V, 2) one texture position for each vertex, v down. Off the face: that of the nearest face vertex."""
    layout = np.full((len(neutral), 2), np.nan, np.float32)
    for corner in range(4):
        rows = (faces[:, corner] >= 0) & (faces_uv[:, corner] >= 0)
        vertex, texel = faces[rows, corner], uv[np.clip(faces_uv[rows, corner], 0, None)]
        own = (part[vertex] == PART["face"]) & (texel[:, 0] <= 1)
        layout[vertex[own]] = texel[own] * [1, -1] + [0, 1]
    known = np.flatnonzero(np.isfinite(layout[:, 0]))
    unknown = np.flatnonzero(~np.isfinite(layout[:, 0]))
    for chunk in np.array_split(unknown, max(1, len(unknown) // 512)):
        distance = ((neutral[chunk, None] - neutral[None, known[::4]]) ** 2).sum(-1)
        layout[chunk] = layout[known[::4][distance.argmin(1)]]
    return layout
