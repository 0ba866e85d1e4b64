"""One face from one seed: geometry, light, materials, covers, background, camera, labels."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from acdc_fast import _native

from . import covers, photo, scene
from .light import Light
from .markup import Points, brow_edges
from .mesh import PART, FaceModel
from .person import apply_expression, sample_expression, sample_identity
from .pose import MIDDLE, Camera, head_to_camera, sample_pose
from .skin import SIZE, Looks, paint, sample_looks

MATERIALS = ("skin", "skull", "mouth", "socket", "gums", "teeth", "eyes", "clothes", "hair", "cloth", "frame", "lens")
M = {name: number for number, name in enumerate(MATERIALS)}


@dataclass(frozen=True)
class Rendered:
    """A picture and what is exactly known of it. Pixels: centres at integer coordinates."""

    image: np.ndarray  # (S, S) uint8
    landmarks: dict[str, np.ndarray]  # markup -> (L, 2) float32
    visible: dict[str, np.ndarray]  # markup -> (L,) bool: inside the picture and hidden by nothing
    pose: np.ndarray  # (3,) float32 yaw, pitch, roll in degrees
    depth: np.ndarray  # (68,) float32 depth of "3d68" in pixels, larger is nearer
    traits: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Person:
    """Everything about a person that does not change from shot to shot."""

    vertices: np.ndarray  # (V, 3) resting face
    looks: Looks
    texture: np.ndarray  # (SIZE, SIZE) reflectance
    points: Points
    seed: int


def make_person(model: FaceModel, seed: int, texture: np.ndarray | None = None) -> Person:
    """The person of this seed. ``texture``: reflectance to use in place of the painted one."""
    rng = np.random.default_rng([1, seed])
    edges = brow_edges(rng.normal(0, 0.005), float(np.clip(rng.normal(1, 0.3), 0.45, 1.8)), rng.normal(0, 0.006))
    if texture is not None:  # whose brows lie where the layout has them
        edges = brow_edges(0.0, 1.0, 0.0)
    looks = sample_looks(rng, edges)
    vertices = sample_identity(model, rng)
    skin = paint(looks, rng) if texture is None else texture
    return Person(vertices, looks, skin, Points(model, edges), seed)


def render(
    model: FaceModel, person: Person, seed: int, size: int = 192, yaw_limit: float = 90.0, oversample: float = 1.35
) -> Rendered:
    """A shot of a person: (size, size) pixels, the face about 0.55 of them wide. Same arguments, same bytes."""
    rng = np.random.default_rng([2, person.seed, seed])
    strengths, gaze = sample_expression(model, rng)
    head = apply_expression(model, person.vertices, strengths, gaze)
    pose = sample_pose(rng, yaw_limit)
    rotation = head_to_camera(pose)
    wide = round(size * oversample)
    camera = _camera(rng, wide)
    pieces, lens = _dress(model, person, head, rng)
    mesh = _Mesh(model, head, pieces)
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
    colour = _colour(person, material, values, rng)
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
    )


def _camera(rng: np.random.Generator, wide: int) -> Camera:
    distance = float(np.exp(rng.uniform(np.log(35), np.log(400))))
    # The face, 15 cm from ear to ear, takes about 0.55 of the picture's side.
    scale = wide * rng.uniform(0.48, 0.62) / 15.5
    return Camera(distance, float(scale), (wide - 1) / 2 + rng.normal(0, 0.02, 2) * wide)


def _dress(
    model: FaceModel, person: Person, head: np.ndarray, rng: np.random.Generator
) -> tuple[list[covers.Cover], float]:
    """Covers of one shot and how dark the lenses of its glasses are (0 without)."""
    own = np.random.default_rng([3, person.seed])  # hair belongs to the person
    normals = _native.vertex_normals(head, model.triangles)
    pieces: list[covers.Cover | None] = list(covers.hair(model, head, normals, own))
    if rng.random() < 0.09:
        pieces.append(covers.hat(model, head, normals, rng))
    if rng.random() < 0.05:
        pieces.append(covers.mask(model, head, normals, rng))
    lens = 0.0
    if rng.random() < 0.17:
        flip = np.array([1, -1, 1], np.float32)  # points are read with y down
        points = {name: at * flip for name, at in person.points.read(head * flip, 0.0).items()}
        spectacles, lens = covers.glasses(points, rng)
        pieces.extend(spectacles)
    return [piece for piece in pieces if piece is not None], lens


class _Mesh:
    """The head and its covers in one vertex list."""

    def __init__(self, model: FaceModel, head: np.ndarray, pieces: list[covers.Cover]) -> None:
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

        Inside the mouth, which is closed and dark in the model, light enters from the front as the jaw opens.
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


def _part_material(model: FaceModel) -> np.ndarray:
    if "_part_material" not in model.__dict__:
        kinds = [M[name] for name in ("skin", "skull", "mouth", "socket", "gums", "teeth", "eyes")]
        model.__dict__["_part_material"] = np.array(kinds, np.int8)[model.part[model.triangles].max(1)]
    return np.asarray(model.__dict__["_part_material"])


def _coordinates(model: FaceModel) -> np.ndarray:
    """(V, 2): on the eyeballs the distance from the gaze's axis to the right and up, in eyeball radii.

    Elsewhere the second is how high the vertex lies on the neutral head, in cm, for necklines that dip in front.
    """
    if "_coordinates" not in model.__dict__:
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
        model.__dict__["_coordinates"] = out
    return np.asarray(model.__dict__["_coordinates"])


def _colour(person: Person, material: np.ndarray, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Linear light that leaves each pixel's surface."""
    looks, shape = person.looks, material.shape
    uv, coordinates, diffuse, glossy = values[..., :2], values[..., 2:4], values[..., 4], values[..., 5]
    skin = cv2.remap(
        person.texture,
        uv[..., 0] * SIZE - 0.5,
        uv[..., 1] * SIZE - 0.5,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    table = np.zeros(len(MATERIALS) + 1, np.float32)
    shine = np.zeros(len(MATERIALS) + 1, np.float32)
    for name, reflectance, gloss in [
        ("mouth", 0.16, 0.5), ("socket", 0.6 * looks.tone, 0.2), ("gums", 0.22, 0.6), ("teeth", 0.62, 0.6), ("eyes", 0.5, 1.0),
        ("clothes", rng.uniform(0.02, 0.8), 0.05), ("cloth", rng.uniform(0.02, 0.8), 0.05),
        ("frame", float(np.exp(rng.uniform(np.log(0.01), np.log(0.5)))), 1.5), ("hair", looks.hair, 0.6), ("skin", 1, 1), ("skull", 1, 1),
    ]:  # fmt: skip
        table[M[name]], shine[M[name]] = reflectance, gloss
    albedo = table[material]
    on_skin = (material == M["skin"]) | (material == M["skull"])
    albedo = np.where(on_skin, skin, albedo)
    eye = material == M["eyes"]
    if eye.any():
        albedo[eye] = _iris(looks, coordinates[eye])
    fibre = (material == M["hair"]) | (material == M["cloth"]) | (material == M["clothes"])
    if fibre.any():
        albedo[fibre] *= _fibre(rng, coordinates[fibre], material[fibre])
    return np.asarray(albedo * diffuse + glossy * shine[material]).reshape(shape)


def _iris(looks: Looks, at: np.ndarray) -> np.ndarray:
    r = np.hypot(at[:, 0], at[:, 1])
    radius = 0.47
    sclera = 0.62 - 0.25 * np.clip(r - 0.6, 0, 1)
    spokes = 1 + 0.25 * np.sin(23 * np.arctan2(at[:, 1], at[:, 0]))
    iris = looks.iris * spokes * np.where(r > 0.85 * radius, 0.6, 1.0)
    inside = np.clip((radius - r) / 0.03 + 0.5, 0, 1)
    pupil = np.clip((looks.pupil * radius - r) / 0.03 + 0.5, 0, 1)
    return np.asarray((sclera * (1 - inside) + iris * inside) * (1 - pupil) + 0.01 * pupil)


def _fibre(rng: np.random.Generator, coordinates: np.ndarray, material: np.ndarray) -> np.ndarray:
    """Strands of hair and threads of cloth: factors (n,) on the reflectance."""
    strands = scene.strands(rng)
    cell = (coordinates * len(strands)).astype(np.int32) % len(strands)
    strength = np.where(material == M["hair"], rng.uniform(0.15, 0.5), rng.uniform(0, 0.25))
    return np.asarray(np.exp(strength * strands[cell[:, 1], cell[:, 0]]))


def _exposure(colour: np.ndarray, material: np.ndarray, rng: np.random.Generator) -> float:
    """A factor that brings the face's median to an ordinary brightness, as a camera would."""
    face = colour[material == M["skin"]]
    level = float(np.median(face)) if len(face) else 0.2
    return float(np.exp(rng.normal(np.log(0.26), 0.45))) / max(level, 1e-3)


def _lenses(
    mesh: _Mesh,
    flat: np.ndarray,
    values: np.ndarray,
    depth: np.ndarray,
    picture: np.ndarray,
    dark: float,
    rng: np.random.Generator,
    wide: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the lenses over what lies behind them: the picture, and where a dark lens hides it."""
    glass = mesh.triangles[mesh.material == M["lens"]]
    owner, front, at = _native.rasterize(flat, glass, mesh.coordinates, wide, wide, False)
    there = (owner >= 0) & (front > depth)
    glare = rng.uniform(0, 0.25) if rng.random() < 0.4 else 0.0
    slope = np.clip(1 + rng.normal(0, 3) * at[..., 0] + rng.normal(0, 3) * at[..., 1], 0, 2)
    out = np.where(there, picture * (1 - dark) + dark * 0.03 + glare * slope, picture)
    return out.astype(np.float32), there & (dark > 0.5)


def visible_points(points: np.ndarray, depth: np.ndarray, hidden: np.ndarray, name: str) -> np.ndarray:
    """Points in the picture that nothing covers: as near as the z-buffer there, to a few millimetres."""
    height, width = depth.shape
    column, row = np.rint(points[:, 0]).astype(int), np.rint(points[:, 1]).astype(int)
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    c, r = column.clip(1, width - 2), row.clip(1, height - 2)
    # The farthest of the pixels round the point: one that lies on an outline may round to its other side.
    around = np.min([depth[r + dy, c + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)], 0)
    slack = np.full(len(points), 0.35)
    if name in ("2d5", "2d98"):
        slack[[0, 1] if name == "2d5" else [96, 97]] = 1.0  # eye centres and pupils lie under the cornea
    return np.asarray(inside & (points[:, 2] > around - slack) & ~hidden[r, c])
