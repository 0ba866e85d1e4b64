"""One face from one seed: geometry, light, materials, covers, background, camera, labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from acdc_fast import _native

from . import covers, photo, scene
from .assembly import M, Mesh
from .blendshapes import blendshapes_of
from .light import Light
from .markup import Points, brow_edges
from .materials import colour_of
from .mesh import FaceModel
from .person import Gaze, apply_expression, sample_expression, sample_identity
from .pose import MIDDLE, Camera, head_to_camera, sample_pose
from .skin import Looks, paint, sample_looks


@dataclass(frozen=True)
class Rendered:
    """A picture and its exact labels. Pixels: centres at integer coordinates."""

    image: np.ndarray  # (S, S) uint8
    landmarks: dict[str, np.ndarray]  # markup -> (L, 2) float32
    visible: dict[str, np.ndarray]  # markup -> (L,) bool: inside the picture and not hidden
    pose: np.ndarray  # (3,) float32 yaw, pitch, roll in degrees
    depth: np.ndarray  # (68,) float32 depth of "3d68" in pixels, larger is nearer
    traits: dict[str, float] = field(default_factory=dict)
    blendshapes: np.ndarray | None = None  # (52,) float32 in the order of `readout.blendshapes.NAMES`; None: not known


#: Draws the strengths of the model's expression shapes, and the gaze.
Expressions = Callable[[FaceModel, np.random.Generator], tuple[dict[str, float], Gaze]]


@dataclass(frozen=True)
class Person:
    """The properties of a person that are the same in all shots."""

    vertices: np.ndarray  # (V, 3) resting face
    looks: Looks
    texture: np.ndarray  # (SIZE, SIZE) reflectance
    points: Points
    seed: int


def make_person(model: FaceModel, seed: int, texture: np.ndarray | None = None) -> Person:
    """The person of this seed. ``texture``: a reflectance to use instead of painted skin."""
    rng = np.random.default_rng([1, seed])
    edges = brow_edges(rng.normal(0, 0.005), float(np.clip(rng.normal(1, 0.3), 0.45, 1.8)), rng.normal(0, 0.006))
    if texture is not None:  # its brows lie where the layout has them
        edges = brow_edges(0.0, 1.0, 0.0)
    looks = sample_looks(rng, edges)
    vertices = sample_identity(model, rng)
    skin = paint(looks, rng) if texture is None else texture
    return Person(vertices, looks, skin, Points(model, edges), seed)


def render(
    model: FaceModel,
    person: Person,
    seed: int,
    size: int = 192,
    yaw_limit: float = 90.0,
    oversample: float = 1.35,
    expressions: Expressions = sample_expression,
) -> Rendered:
    """A shot of a person: (size, size) pixels, the face about 0.55 of their width. Same arguments, same bytes."""
    rng = np.random.default_rng([2, person.seed, seed])
    strengths, gaze = expressions(model, rng)
    head = apply_expression(model, person.vertices, strengths, gaze)
    pose = sample_pose(rng, yaw_limit)
    rotation = head_to_camera(pose)
    wide = round(size * oversample)
    camera = _camera(rng, wide)
    pieces, lens = _dress(model, person, head, rng)
    mesh = Mesh(model, head, pieces)
    seen = (mesh.vertices - MIDDLE) @ rotation.T.astype(np.float32)
    flat = camera.project(seen).astype(np.float32)
    landmarks = person.points.read(flat[: len(head)], np.radians(pose[2]))
    normals = _native.vertex_normals(seen, mesh.triangles)
    light = Light(rng)
    diffuse, glossy = light.shade(
        normals, mesh.sky(normals @ rotation.astype(np.float32), strengths.get("jawOpen", 0.0)), rotation
    )
    attributes = np.column_stack([mesh.uv, mesh.coordinates, diffuse, glossy]).astype(np.float32)
    solid = mesh.material != M["lens"]
    owner, depth, values = _native.rasterize(flat, mesh.triangles[solid], attributes, wide, wide, True)
    material = np.where(owner >= 0, mesh.material[solid][owner], -1)
    bust = ((material == M["skin"]) | (material == M["skull"])) & (values[..., 3] < rng.uniform(-16, -11))
    material[bust] = M["clothes"]
    colour = colour_of(person.looks, person.texture, material, values, rng)
    backdrop = scene.backdrop(rng, wide)
    exposure = _exposure(colour, material, rng)
    picture = np.where(material >= 0, np.clip(colour * exposure, 0, 4), backdrop)
    covered = np.zeros((wide, wide), bool)
    if not solid.all():
        picture, covered = _lenses(mesh, flat, values, depth, picture, lens, rng, wide)
    picture, hidden = scene.occlude(rng, picture, landmarks["2d68"][:, :2], person.looks.tone * exposure)
    image = photo.develop(rng, picture, size)
    shown = {name: visible_points(points, depth, hidden | covered, name) for name, points in landmarks.items()}
    scale = size / wide
    return Rendered(
        image=image,
        landmarks={n: ((p[:, :2] + 0.5) * scale - 0.5).astype(np.float32) for n, p in landmarks.items()},
        visible=shown,
        pose=pose.astype(np.float32),
        depth=(landmarks["3d68"][:, 2] * camera.scale * scale).astype(np.float32),
        traits={"lens": lens, "open": strengths.get("jawOpen", 0.0), "tone": person.looks.tone},
        blendshapes=blendshapes_of(strengths, gaze),
    )


def _camera(rng: np.random.Generator, wide: int) -> Camera:
    distance = float(np.exp(rng.uniform(np.log(35), np.log(400))))
    # The face is 15 cm wide from ear to ear and takes about 0.55 of the picture's side.
    scale = wide * rng.uniform(0.48, 0.62) / 15.5
    return Camera(distance, float(scale), (wide - 1) / 2 + rng.normal(0, 0.02, 2) * wide)


def _dress(
    model: FaceModel, person: Person, head: np.ndarray, rng: np.random.Generator
) -> tuple[list[covers.Cover], float]:
    """Covers of one shot, and how dark the lenses of its glasses are (0 without)."""
    own = np.random.default_rng([3, person.seed])  # hair is the same in all shots
    normals = _native.vertex_normals(head, model.triangles)
    pieces: list[covers.Cover | None] = list(covers.hair(model, head, normals, own))
    if rng.random() < 0.09:
        pieces.append(covers.hat(model, head, normals, rng))
    if rng.random() < 0.05:
        pieces.append(covers.mask(model, head, normals, rng))
    lens = 0.0
    if rng.random() < 0.17:
        flip = np.array([1, -1, 1], np.float32)  # `Points.read` has y down
        points = {name: at * flip for name, at in person.points.read(head * flip, 0.0).items()}
        spectacles, lens = covers.glasses(points, rng)
        pieces.extend(spectacles)
    return [piece for piece in pieces if piece is not None], lens


def _exposure(colour: np.ndarray, material: np.ndarray, rng: np.random.Generator) -> float:
    """A factor that gives the face's median an ordinary brightness, as a camera would."""
    face = colour[material == M["skin"]]
    level = float(np.median(face)) if len(face) else 0.2
    return float(np.exp(rng.normal(np.log(0.26), 0.45))) / max(level, 1e-3)


def _lenses(
    mesh: Mesh,
    flat: np.ndarray,
    values: np.ndarray,
    depth: np.ndarray,
    picture: np.ndarray,
    dark: float,
    rng: np.random.Generator,
    wide: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the lenses over the picture. Returns the picture, and where a dark lens hides it."""
    glass = mesh.triangles[mesh.material == M["lens"]]
    owner, front, at = _native.rasterize(flat, glass, mesh.coordinates, wide, wide, False)
    there = (owner >= 0) & (front > depth)
    glare = rng.uniform(0, 0.25) if rng.random() < 0.4 else 0.0
    slope = np.clip(1 + rng.normal(0, 3) * at[..., 0] + rng.normal(0, 3) * at[..., 1], 0, 2)
    out = np.where(there, picture * (1 - dark) + dark * 0.03 + glare * slope, picture)
    return out.astype(np.float32), there & (dark > 0.5)


def visible_points(points: np.ndarray, depth: np.ndarray, hidden: np.ndarray, name: str) -> np.ndarray:
    """Whether each point is in the picture and uncovered: as near as the z-buffer there, to a few millimetres."""
    height, width = depth.shape
    column, row = np.rint(points[:, 0]).astype(int), np.rint(points[:, 1]).astype(int)
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    c, r = column.clip(1, width - 2), row.clip(1, height - 2)
    # Compare with the farthest of the pixels around: a point on an outline may round to its other side.
    around = np.min([depth[r + dy, c + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)], 0)
    slack = np.full(len(points), 0.35)
    if name in ("2d5", "2d98"):
        slack[[0, 1] if name == "2d5" else [96, 97]] = 1.0  # eye centres and pupils lie under the cornea
    return np.asarray(inside & (points[:, 2] > around - slack) & ~hidden[r, c])
