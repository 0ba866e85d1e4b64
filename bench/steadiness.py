"""How steady the points of a followed face are, with smoothing and without, on rendered films whose truth is known.

    python bench/steadiness.py DATA [--people 4] [--frames 120] [--weights acdc-w16-fast]

DATA is the folder that holds ict_facekit.npz. The people are those of the test split. Each gives three films of
320×240: a head at rest, one that turns and wanders, and one that speaks while it moves. Each frame has its own noise.

Printed, for the 68 points: NMF, the flicker of Micaelli et al. (CVPR 2023): 100 · √(mean of |r(t) − r(t−1)|² / d²), r
being a point's error and d = √(w·h) of the true points; the same of second differences; the error, % of d; the lag in
frames that explains the points best; frames a second, without reading and drawing; frames without a face; frames
whose error is above a fifth of d ("jumps").
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from acdc_fast import Model, _native
from acdc_fast.training.synthesis import covers
from acdc_fast.training.synthesis.assembly import MATERIALS, Mesh
from acdc_fast.training.synthesis.dataset import PEOPLE
from acdc_fast.training.synthesis.light import Light
from acdc_fast.training.synthesis.materials import colour_of
from acdc_fast.training.synthesis.mesh import FILE, FaceModel, load_model
from acdc_fast.training.synthesis.person import Gaze, apply_expression
from acdc_fast.training.synthesis.pose import MIDDLE, Camera, head_to_camera
from acdc_fast.training.synthesis.render import make_person

WIDTH, HEIGHT = 320, 240
KINDS = ("rest", "moves", "speaks")
#: Grey values of noise in each frame, and frames that the filters get to settle.
NOISE, SETTLING = 4.0, 10


def film(model: FaceModel, seed: int, kind: str, frames: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames (HEIGHT, WIDTH, 3) uint8 and the true points (frames, 68, 2) in pixels."""
    person, rng = make_person(model, seed), np.random.default_rng([11, seed])
    phase, base = rng.uniform(0, 2 * np.pi, 5), np.array([rng.uniform(-20, 20), rng.uniform(-8, 8), rng.uniform(-8, 8)])
    hair, pictures, truth = None, [], []
    light, shade = Light(np.random.default_rng([8, seed])), np.random.default_rng([7, seed])
    exposure = None
    for frame in range(frames):
        swing = np.sin(2 * np.pi * frame / np.array([60, 75, 90, 110, 12]) + phase) * (kind != "rest")
        strengths = {"jawOpen": 0.25 * (1 + swing[4])} if kind == "speaks" else {"jawOpen": 0.0}
        head = apply_expression(model, person.vertices, strengths, Gaze(0.0, 0.0))
        rotation = head_to_camera(base + swing[:3] * (20, 8, 8))
        middle = np.array([WIDTH / 2, HEIGHT / 2]) + swing[2:4] * (30, 10)
        camera = Camera(80.0, 6.0, middle)
        if hair is None:
            normals = _native.vertex_normals(head, model.triangles)
            hair = covers.hair(model, head, normals, np.random.default_rng([3, seed]))
        mesh = Mesh(model, head, list(hair))
        seen = (mesh.vertices - MIDDLE) @ rotation.T.astype(np.float32)
        flat = camera.project(seen).astype(np.float32)
        normals = _native.vertex_normals(seen, mesh.triangles)
        sky = mesh.sky(normals @ rotation.astype(np.float32), strengths["jawOpen"])
        diffuse, glossy = light.shade(normals, sky, rotation)
        values = np.column_stack([mesh.uv, mesh.coordinates, diffuse, glossy]).astype(np.float32)
        owner, _, values = _native.rasterize(flat, mesh.triangles, values, HEIGHT, WIDTH, True)
        material = np.where(owner >= 0, mesh.material[owner], -1)
        colour = colour_of(person.looks, person.texture, material, values, np.random.default_rng([7, seed]))
        if exposure is None:
            exposure = 0.3 / max(float(np.median(colour[material == MATERIALS.index("skin")])), 1e-3)
        grey = np.where(material >= 0, np.clip(colour * exposure, 0, 1), 0.2) ** (1 / 2.2) * 255
        grey = grey + shade.normal(0, NOISE, grey.shape)
        pictures.append(np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, 2))
        truth.append(person.points.read(flat[: len(head)], 0.0)["2d68"][:, :2])
    return pictures, np.array(truth)


def followed(network: Model, pictures: list[np.ndarray], smooth: bool, detector: str) -> tuple[np.ndarray, float]:
    """Points (frames, 68, 2) of the one face, NaN where there is none; frames a second."""
    found, start = [], time.perf_counter()
    for faces in network.track(pictures, smooth=smooth, max_faces=1, detector=detector):
        found.append(faces.landmarks["2d68"][0] if len(faces) else np.full((68, 2), np.nan))
    return np.array(found), len(pictures) / (time.perf_counter() - start)


def measures(found: np.ndarray, truth: np.ndarray) -> tuple[float, float, float, float]:
    """NMF, the same of second differences, error (all % of d), lag in frames (NaN where nothing moves)."""
    found, truth = found[SETTLING:], truth[SETTLING:]
    unit = np.sqrt(np.ptp(truth, axis=1).prod(1))[:, None, None]
    wrong = 100 * (found - truth)

    def rms(values: np.ndarray) -> float:
        return float(np.sqrt(np.nanmean((values**2).sum(-1))))

    flicker, jerk = np.diff(wrong, axis=0), np.diff(wrong, n=2, axis=0)
    error = float(np.nanmean(np.linalg.norm(wrong / unit, axis=-1)))
    # The lag is that part of the error which goes with the true speed: r(t) ≈ constant − lag · speed(t).
    speed = np.gradient(truth, axis=0)
    moved = speed - np.nanmean(speed, 0)
    steady = (found - truth) - np.nanmean(found - truth, 0)
    power = float(np.nansum(moved**2))
    lag = -float(np.nansum(steady * moved)) / power if power > 1 else np.nan
    return rms(flicker / unit[1:]), rms(jerk / unit[2:]), error, lag


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--weights", default="acdc-w16-fast")
    parser.add_argument("--detector", default="both")
    parser.add_argument("--show", type=Path, help="writes each tenth frame of the first film here")
    options = parser.parse_args()
    model, network = load_model(options.data / FILE), Model.from_pretrained(options.weights)
    print(f"{network!r}; {options.people} people, {options.frames} frames each, the first {SETTLING} left out")
    print("film    smooth   NMF    second diff.     error     lag   frames a second (quartiles)    without   jumps")
    for kind in KINDS:
        rows: dict[bool, list[tuple[float, ...]]] = {False: [], True: []}
        for person in range(options.people):
            pictures, truth = film(model, PEOPLE["test"] + person, kind, options.frames)
            if options.show and not person:
                from PIL import Image

                options.show.mkdir(exist_ok=True)
                for i in range(0, options.frames, 10):
                    Image.fromarray(pictures[i]).save(options.show / f"{kind}-{i:03d}.png")
            for smooth in rows:
                found, rate = followed(network, pictures, smooth, options.detector)
                lost = float(np.isnan(found[:, 0, 0]).sum())
                unit = np.sqrt(np.ptp(truth, axis=1).prod(1))
                jumps = float((np.linalg.norm(found - truth, axis=-1).mean(1) > unit / 5).sum())
                rows[smooth].append((*measures(found, truth), rate, lost, jumps))
        for smooth, each in rows.items():
            nmf, second, error, lag, rate = np.mean(each, 0)[:5]
            lost, jumps = np.sum(each, 0)[5:]
            low, high = np.percentile([row[4] for row in each], [25, 75])
            print(f"{kind:8s}{'yes' if smooth else 'no':5s}{nmf:8.3f}{second:16.3f}{error:13.2f}{lag:8.2f}"
                  f"{rate:12.1f} ({low:.1f} to {high:.1f}){lost:12.0f}{jumps:8.0f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
