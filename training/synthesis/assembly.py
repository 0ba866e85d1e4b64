"""The head and what it wears as one mesh, and the material of each triangle."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .covers import Cover
from .mesh import PART, FaceModel

MATERIALS = ("skin", "skull", "mouth", "socket", "gums", "teeth", "eyes", "clothes", "hair", "cloth", "frame", "lens")
M = {name: number for number, name in enumerate(MATERIALS)}


class Mesh:
    """The head and its covers in one vertex list."""

    def __init__(self, model: FaceModel, head: np.ndarray, pieces: list[Cover]) -> None:
        self.model, self.head, self.pieces = model, len(head), pieces
        starts = np.cumsum([len(head)] + [len(p.vertices) for p in pieces])
        self.vertices = np.concatenate([head, *(p.vertices for p in pieces)])
        self.triangles = np.concatenate(
            [model.triangles, *(p.triangles + s for p, s in zip(pieces, starts, strict=False))]
        )
        kinds = [_part_material(model), *(np.full(len(p.triangles), M[p.material], np.int8) for p in pieces)]
        self.material = np.concatenate(kinds)
        self.coordinates = np.concatenate([_coordinates(model), *(p.coordinates for p in pieces)])
        self.uv = np.concatenate([model.uv, np.zeros((len(self.vertices) - len(head), 2), np.float32)])

    def sky(self, normals: np.ndarray, jaw: float) -> np.ndarray:
        """(n, 9) visible sky: the model's own on the head, an open half sky elsewhere. Normals in the head's frame.

        The model's mouth is closed and dark inside. As the jaw opens, light enters from the front.
        """
        skies = np.concatenate([self.model.visibility, _half_sky(normals[self.head :])])
        inside = np.flatnonzero(np.isin(self.model.part, [PART["mouth"], PART["gums"], PART["teeth"]]))
        depth = np.clip((self.vertices[inside, 2] - 7.5) / 3.5, 0.03, 1) ** 1.5
        skies[inside] = (0.4 + 0.6 * jaw) * depth[:, None] * _half_sky(np.array([[0.0, 0.0, 1.0]], np.float32))
        return np.asarray(skies)


def _half_sky(normals: np.ndarray) -> np.ndarray:
    """(n, 9) harmonics of the half of the sky that a plane with this normal sees."""
    x, y, z = normals.T
    out = np.zeros((len(normals), 9), np.float32)
    out[:, 0], out[:, 1:4] = 1.7725, 1.535 * np.stack([y, z, x], 1)
    return out


@lru_cache(maxsize=2)
def _part_material(model: FaceModel) -> np.ndarray:
    kinds = [M[name] for name in ("skin", "skull", "mouth", "socket", "gums", "teeth", "eyes")]
    return np.asarray(np.array(kinds, np.int8)[model.part[model.triangles].max(1)])


@lru_cache(maxsize=2)
def _coordinates(model: FaceModel) -> np.ndarray:
    """(V, 2). On the eyeballs: distance from the axis of the gaze, to the right and up, in eyeball radii.

    Elsewhere the second value is the height on the neutral head in cm, for necklines that are lower in front.
    """
    out = np.zeros((len(model.neutral), 2), np.float32)
    out[:, 1] = model.neutral[:, 1] + 0.12 * np.clip(model.neutral[:, 2], -5, 5) - 0.1 * np.abs(model.neutral[:, 0])
    for eye, iris in zip(model.eye_vertices, model.irises, strict=True):
        ball = model.neutral[eye]
        centre = (ball.max(0) + ball.min(0)) / 2
        radius = (ball.max(0) - ball.min(0))[1] / 2
        axis = model.neutral[iris].mean(0) - centre
        axis /= np.linalg.norm(axis)
        right = np.cross([0, 1, 0], axis)
        right /= np.linalg.norm(right)
        local = (ball - centre) / radius
        out[eye] = np.stack([local @ right, local @ np.cross(axis, right)], 1)
        out[eye[local @ axis < 0]] = 2.0
    return out
