"""Error of the pose over the place in the picture, on rendered heads whose true pose and place are known.

    python bench/pose_across_picture.py DATA [--people 12] [--weights acdc-w32]

Each person has one expression, light and pose along the ray, and stands in seven places of a wide-angle picture (80
degrees), a metre away. DATA is the folder that holds ict_facekit.npz. The people are those of the test split.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from acdc_fast import Camera, Model, _native
from acdc_fast.photo.camera import Views
from acdc_fast.photo.coordinates import box_from_points
from acdc_fast.training.synthesis import covers
from acdc_fast.training.synthesis.assembly import MATERIALS, Mesh
from acdc_fast.training.synthesis.dataset import PEOPLE
from acdc_fast.training.synthesis.light import Light
from acdc_fast.training.synthesis.materials import colour_of
from acdc_fast.training.synthesis.mesh import FILE, FaceModel, load_model
from acdc_fast.training.synthesis.person import apply_expression, sample_expression
from acdc_fast.training.synthesis.pose import head_to_camera
from acdc_fast.training.synthesis.render import make_person

WIDTH, HEIGHT = 1600, 1200
CAMERA = Camera(field_of_view=80, eye_corners=90)
#: Directions of the head: degrees to the right and up.
PLACES = ((0, 0), (15, 0), (30, 0), (-30, 0), (0, 20), (25, -18), (-34, 14))
DISTANCE = 100.0  # cm along the ray


def place_of(right: float, up: float) -> np.ndarray:
    """(3,) cm in the camera's frame."""
    ray = np.array([np.tan(np.radians(right)), np.tan(np.radians(up)), -1.0])
    return DISTANCE * ray / np.linalg.norm(ray)


def projected(points: np.ndarray) -> np.ndarray:
    """(L, 3) camera's frame → (L, 3): pixels x, y and depth, larger is nearer."""
    f, _, cx, cy = CAMERA.numbers(WIDTH, HEIGHT)
    far = -points[:, 2:]
    return np.concatenate([cx + f * points[:, :1] / far, cy - f * points[:, 1:2] / far, points[:, 2:]], 1)


def turn_to(right: float, up: float) -> np.ndarray:
    """(3, 3) from the frame of a camera turned there to the camera's own."""
    pixel = projected(place_of(right, up)[None])[0, :2]
    return np.asarray(Views(CAMERA, WIDTH, HEIGHT, np.array([[*pixel, 100.0, 0.0]])).rotation[0])


def picture(model: FaceModel, seed: int, pose: np.ndarray, right: float, up: float) -> tuple[np.ndarray, np.ndarray]:
    """(HEIGHT, WIDTH) uint8 of the person whose pose along the ray is given, and the box of the points' crop."""
    person, rng = make_person(model, seed), np.random.default_rng([9, seed])
    strengths, gaze = sample_expression(model, rng)
    head = apply_expression(model, person.vertices, strengths, gaze)
    own = np.random.default_rng([3, seed])
    mesh = Mesh(model, head, [p for p in covers.hair(model, head, _native.vertex_normals(head, model.triangles), own)])
    turned = turn_to(right, up) @ head_to_camera(pose)
    origin = person.points.read(head * np.array([1, -1, 1], np.float32), 0.0)["3d68"][[36, 45]].mean(0) * (1, -1, 1)
    seen = ((mesh.vertices - origin) @ turned.T).astype(np.float32)
    flat = projected(seen + place_of(right, up)).astype(np.float32)
    normals = _native.vertex_normals(seen, mesh.triangles)
    sky = mesh.sky(normals @ turned.astype(np.float32), strengths.get("jawOpen", 0.0))
    # The light goes with the ray, so that the pictures of a person differ in the place alone.
    along = normals @ turn_to(right, up).astype(np.float32)
    diffuse, glossy = Light(np.random.default_rng([8, seed])).shade(along, sky, head_to_camera(pose))
    values = np.column_stack([mesh.uv, mesh.coordinates, diffuse, glossy]).astype(np.float32)
    owner, _, values = _native.rasterize(flat, mesh.triangles, values, HEIGHT, WIDTH, True)
    material = np.where(owner >= 0, mesh.material[owner], -1)
    colour = colour_of(person.looks, person.texture, material, values, np.random.default_rng([7, seed]))
    light = 0.3 / max(float(np.median(colour[material == MATERIALS.index("skin")])), 1e-3)
    shown = np.where(material >= 0, np.clip(colour * light, 0, 1), 0.2) ** (1 / 2.2) * 255
    points = person.points.read(flat[: len(head)], 0.0)["2d68"][:, :2]
    return np.rint(shown).astype(np.uint8), box_from_points(points[None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--weights", default="acdc-w32")
    parser.add_argument("--show", type=Path, help="writes one person's pictures here")
    options = parser.parse_args()
    model, network = load_model(options.data / FILE), Model.from_pretrained(options.weights)
    rng = np.random.default_rng(0)
    rows = []
    for person in range(options.people):
        pose = np.array([rng.uniform(-45, 45), rng.uniform(-15, 15), rng.uniform(-15, 15)])
        row = []
        for i, place in enumerate(PLACES):
            image, box = picture(model, PEOPLE["test"] + person, pose, *place)
            if options.show and not person:
                from PIL import Image

                options.show.mkdir(exist_ok=True)
                Image.fromarray(image).save(options.show / f"{i}.png")
            head_to_cam = turn_to(*place) @ head_to_camera(pose) @ head_to_camera(np.zeros(3)).T
            errors = []
            for camera in (CAMERA, None):
                faces = network.align(image, boxes=box, camera=camera)
                assert faces.pose is not None
                wrong = faces.pose.matrix[0].astype(float) @ head_to_cam
                errors.append(np.degrees(np.arccos(np.clip((np.trace(wrong) - 1) / 2, -1, 1))))
                if camera and faces.pose.translation is not None:
                    errors.append(np.linalg.norm(faces.pose.translation[0]) / (DISTANCE * 10) - 1)
            row.append(errors)
        rows.append(row)
    found = np.array(rows)
    print("right, up: mean error with the camera, without (degrees); distance off (%, median: eyes differ in width)")
    for place, (told, distance, without) in zip(PLACES, found.transpose(1, 2, 0), strict=True):
        print(f"{place!s:>10}: {told.mean():5.2f}  {without.mean():5.2f}   {100 * np.median(distance):+.1f}")
    told = found[:, :, 0].mean(0)
    print(f"between places the mean error differs by up to {told.max() - told.min():.2f} degrees")


if __name__ == "__main__":
    main()
