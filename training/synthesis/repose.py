"""Real faces with new poses, made like 300W-LP (Zhu et al., "Face Alignment Across Large Poses", CVPR 2016).

The model is fitted to a face's 68 points. Each of its vertices takes the picture's grey at its place. The head is then
turned further away from the camera and drawn again. The surroundings follow: rings around the face turn with the head,
less the farther out they lie, and the border of the picture stays. So the background is warped, not lost.

Labels: the model's points in the new pose, plus what the fit missed of the given points, turned with the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import Delaunay

from acdc_fast import _native

from ..data import pose_fit
from .markup import BROW_LOWER, BROW_UPPER, Points, eye_centres_68, mirror
from .mesh import PART, FaceModel
from .pose import head_to_camera
from .render import Rendered, visible_points

MARKUPS = ("2d68", "2d5", "3d68")
# Edge of the face's patch in the texture layout, image-left half, from the forehead down to under the chin.
_EDGE = np.array(
    [[0.5, 0.07], [0.40, 0.07], [0.30, 0.075], [0.21, 0.09], [0.15, 0.13], [0.115, 0.19], [0.108, 0.25], [0.106, 0.31],
     [0.106, 0.364],
     [0.110, 0.442], [0.110, 0.526], [0.120, 0.615], [0.155, 0.685], [0.210, 0.722], [0.303, 0.748],
     [0.402, 0.752], [0.500, 0.750]]
)  # fmt: skip
# Rings around the patch: how far out each lies, and how much of the head's turn it takes.
_RINGS = ((1.0, 1.0), (1.2, 0.9), (1.5, 0.55), (2.0, 0.2))
_BEHIND = 30.0  # cm: the surroundings lie so far behind the face in the z-buffer


@dataclass(frozen=True)
class Fitted:
    """The model fitted to one picture, weak perspective (see `pose_fit.Fit`)."""

    vertices: np.ndarray  # (V, 3) in the head's frame
    rotation: np.ndarray  # (3, 3) head to camera
    scale: float  # pixels for one cm
    shift: np.ndarray  # (2,) pixels
    pose: np.ndarray  # (3,) yaw, pitch, roll in degrees

    def project(self, rotation: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Head-frame points (n, 3) -> (n, 3): x right, y down in pixels, depth in cm."""
        seen = points @ rotation.T
        return np.column_stack([seen[:, :2] * [self.scale, -self.scale] + self.shift, seen[:, 2]])


def fitted_vertices(model: FaceModel, coefficients: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) for `pose_fit`'s coefficients: identities first, then all expressions in the file's order."""
    shapes = list(model.expression.values())
    identities = len(coefficients) - len(shapes)
    out = model.neutral + (coefficients[:identities].astype(np.float32) @ model.identity[:identities]).reshape(-1, 3)
    for value, shape in zip(coefficients[identities:], shapes, strict=True):
        if abs(value) > 1e-3:
            out = out + np.float32(value) * shape
    return np.asarray(out)


def fit_face(reposer: Reposer, seen: np.ndarray) -> Fitted:
    """The model fitted to one face's 68 points (68, 2)."""
    found = pose_fit.fit_pose(seen[None], reposer.fitter)
    vertices = fitted_vertices(reposer.model, found.coefficients[0])
    return Fitted(vertices, found.rotation[0], float(found.scale[0]), found.shift[0], found.pose[0])


class Reposer:
    """Turns the heads of pictures. Holds the data that all pictures share."""

    def __init__(self, model: FaceModel, path: Path) -> None:
        """``path``: the model's file, which `pose_fit` reads again in its own form."""
        self.model, self.fitter = model, pose_fit.FaceModel.load(path)
        self.points = Points(model, (BROW_UPPER, BROW_LOWER))
        edge = np.concatenate([_EDGE, mirror(_EDGE[-2:0:-1])])
        self.edge = model.locate(edge)
        inside = cv2.fillPoly(np.zeros((512, 512), np.uint8), [np.rint(edge * 512 - 0.5).astype(np.int32)], 1)
        cells = np.clip((model.uv * 512).astype(int), 0, 511)
        inside = cv2.dilate(inside, np.ones((9, 9), np.uint8))  # over the edge, so that no gap shows
        patch = (inside[cells[:, 1], cells[:, 0]] > 0) & (model.part == PART["face"])
        patch |= np.isin(model.part, [PART["eyes"], PART["teeth"], PART["gums"], PART["mouth"], PART["socket"]])
        self.triangles = model.triangles[patch[model.triangles].all(1)]

    def repose(self, image: np.ndarray, fit: Fitted, seen: np.ndarray, pose: np.ndarray) -> Rendered:
        """``image`` (H, W) with its 68 points ``seen``, drawn in ``pose`` (yaw, pitch, roll) in degrees."""
        rotation = head_to_camera(pose)
        before, after = (fit.project(r, fit.vertices).astype(np.float32) for r in (fit.rotation, rotation))
        around, moved, triangles = self._surroundings(fit, rotation, image.shape)
        vertices = np.concatenate([after, moved]).astype(np.float32)
        source = np.concatenate([before[:, :2], around[:, :2]]).astype(np.float32)
        drawn = np.concatenate([self.triangles, triangles + len(after)]).astype(np.int32)
        height, width = image.shape
        # At twice the picture's resolution, so that outlines get smooth edges.
        fine = vertices * [2, 2, 1] + [0.5, 0.5, 0]
        owner, _, at = _native.rasterize(fine.astype(np.float32), drawn, source, 2 * height, 2 * width, False)
        rows, columns = np.nonzero(owner < 0)  # slits where the surroundings fold
        at[rows, columns] = np.column_stack([columns, rows]) / 2 - 0.25
        sampled = cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        picture = cv2.resize(sampled, (width, height), interpolation=cv2.INTER_AREA)
        empty = np.zeros((len(vertices), 0), np.float32)
        _, depth, _ = _native.rasterize(vertices, drawn, empty, height, width, False)
        landmarks = self._labels(fit, seen, rotation, after, pose)
        hidden = np.zeros(image.shape, bool)
        return Rendered(
            image=picture,
            landmarks={name: at[:, :2].astype(np.float32) for name, at in landmarks.items()},
            visible={name: visible_points(at, depth, hidden, name) for name, at in landmarks.items()},
            pose=np.asarray(pose, np.float32),
            depth=(landmarks["3d68"][:, 2] * fit.scale).astype(np.float32),
        )

    def _labels(
        self, fit: Fitted, seen: np.ndarray, rotation: np.ndarray, after: np.ndarray, pose: np.ndarray
    ) -> dict[str, np.ndarray]:
        old = self.points.read(fit.project(fit.rotation, fit.vertices), np.radians(fit.pose[2]))
        new = self.points.read(after, np.radians(pose[2]))
        missed = np.zeros((51, 3))
        missed[:, :2] = (seen[17:] - old["2d68"][17:, :2]) * [1, -1] / fit.scale
        turned = missed @ fit.rotation @ rotation.T * [fit.scale, -fit.scale, 1]
        for name in ("2d68", "3d68"):
            new[name][17:] += turned
        # The fit's error on the outline is not added: the track slides along the cheek, so it has no fixed place.
        corners = new["2d68"][[48, 54]]
        tip = new["2d5"][2:3] + turned[30 - 17]
        return {
            "2d68": new["2d68"],
            "3d68": new["3d68"],
            "2d5": np.concatenate([eye_centres_68(new["2d68"]), tip, corners]),
        }

    def _surroundings(
        self, fit: Fitted, rotation: np.ndarray, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The surroundings of the face: positions (n, 3) before and after, and triangles."""
        corners, weights = self.edge
        edge = (fit.vertices[corners] * weights[..., None]).sum(1)
        middle = edge.mean(0)
        before, after = [], []
        for out, share in _RINGS:
            ring = middle + (edge - middle) * [out, out, 1.0]
            ring[:, 2] = edge[:, 2]
            old, new = fit.project(fit.rotation, ring), fit.project(rotation, ring)
            before.append(old)
            after.append(old + share * (new - old))
        height, width = shape
        x, y = np.meshgrid(np.linspace(-0.02, 1.02, 9) * (width - 1), np.linspace(-0.02, 1.02, 9) * (height - 1))
        border = (x < 0) | (y < 0) | (x > width - 1) | (y > height - 1)
        frame = np.column_stack([x[border], y[border], np.full(border.sum(), edge[:, 2].mean())])
        old, new = np.concatenate([*before, frame]), np.concatenate([*after, frame])
        inside = (
            (old[:, 0] > -0.01 * width)
            & (old[:, 1] > -0.01 * height)
            & (old[:, 0] < 1.01 * width)
            & (old[:, 1] < 1.01 * height)
        )
        inside |= np.arange(len(old)) >= len(old) - len(frame)
        inside[: len(edge)] = True
        old, new = old[inside], new[inside]
        new[:, 2] -= _BEHIND
        return old, new, Delaunay(old[:, :2]).simplices


def further_pose(pose: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A pose turned further to the side that it faces (a frontal one: to either), so that little hidden skin shows."""
    yaw, pitch, roll = (float(a) for a in pose)
    way = np.sign(yaw) if abs(yaw) > 8 else rng.choice([-1.0, 1.0])
    new = yaw + way * rng.uniform(8, 65)
    return np.array([np.clip(new, -88, 88), np.clip(pitch + rng.normal(0, 6), -40, 40), roll + rng.normal(0, 4)])
