"""Photos to landmarks, many of them: our ways of doing it and other people's loops, in turns in one run.

    python bench/many_photos.py PHOTOS.tar [--detector both] [--weights acdc-w16-fast] [--rounds 5]
        [--small 1000] [--large 200] [--kinds small large] [--only align mediapipe]

Two kinds of JPEG files are made of the tar's pictures: the first ``--small`` of them as they are (``small``), and the
first ``--large`` enlarged so that the longer side is 640 (``large``). For each kind and contestant: pictures a second,
median and quartiles over the rounds; the share of all CPUs that was busy; faces found. A contestant reads the files
itself.

Before it is timed, each contestant's eyes are compared with those of ``align`` on the first pictures: our own ways must
give the same to a hundredth of a pixel, the others agree about most faces. One that does not is left out, and the
script ends with 1.

MediaPipe (up to 0.10.14) and dlib with the weights of face_recognition_models bring what they need; they run where
they are installed. face-alignment and uniface fetch their weights when they are first used, so they are not here.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from acdc_fast import Faces, Model
from acdc_fast.batch.job import run_batch

#: Paths of pictures → of each (N, 2, 2): the middles of both eyes of its faces, in pixels.
Contestant = Callable[[list[Path]], list[np.ndarray]]
#: Pictures on which the contestants are compared before they are timed.
COMPARED = 40
#: Our own ways may differ by as many pixels; the others by this share of the distance of the eyes, in so many faces.
SAME, NEAR, MOST = 0.01, 0.2, 0.8


def eyes(points: np.ndarray, right: list[int], left: list[int]) -> np.ndarray:
    """(N, L, 2) → (N, 2, 2) means of these points."""
    points = np.asarray(points, np.float64)
    return np.stack([points[:, right].mean(1), points[:, left].mean(1)], 1)


def eyes_of_68(points: np.ndarray) -> np.ndarray:
    return eyes(np.reshape(points, (-1, 68, 2)), list(range(36, 42)), list(range(42, 48)))


def aligned(model: Model, detector: str, paths: list[Path]) -> list[np.ndarray]:
    results = model.align_each(paths, detector=detector)
    return [eyes_of_68(f.landmarks["2d68"] if isinstance(f, Faces) else np.zeros(0)) for f in results]


def ours(model: Model, detector: str) -> dict[str, Contestant]:
    """A list, one picture at a time, and the batch job, which writes and reads a Parquet file; the same by Ray where it
    is."""

    def one_by_one(paths: list[Path]) -> list[np.ndarray]:
        return [eyes_of_68(model.align(path, detector=detector).landmarks["2d68"]) for path in paths]

    def batch(cluster: str | None, paths: list[Path]) -> list[np.ndarray]:
        import pyarrow.parquet

        with tempfile.TemporaryDirectory() as folder:
            out = str(Path(folder) / "x.parquet")
            pictures = Path(folder) / "pictures"
            pictures.mkdir()
            for path in paths:
                (pictures / path.name).symlink_to(path)
            run_batch(model, str(pictures), out, search={"detector": detector}, cluster=cluster)
            rows = pyarrow.parquet.read_table(out, columns=["landmarks_2d68"]).column(0).to_pylist()
        return [eyes_of_68(np.array(row or [])) for row in rows]

    found: dict[str, Contestant] = {"align": partial(aligned, model, detector), "align-one": one_by_one}
    found["batch"] = partial(batch, None)
    if importlib.util.find_spec("ray") is not None:
        import ray

        # One cluster for all rounds; starting it takes seconds. Its workers are other processes: of their CPUs nothing
        # is counted.
        ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        found["batch-ray"] = partial(batch, "local")
    return found


def mediapipe() -> Contestant:
    """Face mesh: 478 or 468 points, one face of each picture, as its examples for photos do it."""
    import mediapipe

    mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1)

    def loop(paths: list[Path]) -> list[np.ndarray]:
        found = []
        for path in paths:
            rgb = rgb_of(path)
            faces = mesh.process(rgb).multi_face_landmarks or ()
            points = [[(p.x * rgb.shape[1] - 0.5, p.y * rgb.shape[0] - 0.5) for p in f.landmark] for f in faces]
            # The corners and the middles of the lids.
            found.append(eyes(np.reshape(points, (len(points), -1, 2)), [33, 133, 159, 145], [263, 362, 386, 374])
                         if points else np.zeros((0, 2, 2)))  # fmt: skip
        return found

    return loop


def dlib(upsample: int) -> Contestant:
    """Its frontal detector and its 68 points. Without enlarging it finds faces from 80 pixels."""
    import dlib

    spec = importlib.util.find_spec("face_recognition_models")  # importing it needs an old setuptools
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("face_recognition_models is not installed")
    detector = dlib.get_frontal_face_detector()
    folder = Path(spec.submodule_search_locations[0]) / "models"
    predictor = dlib.shape_predictor(str(folder / "shape_predictor_68_face_landmarks.dat"))

    def loop(paths: list[Path]) -> list[np.ndarray]:
        found = []
        for path in paths:
            rgb = rgb_of(path)
            faces = [predictor(rgb, box).parts() for box in detector(rgb, upsample)]
            found.append(eyes_of_68(np.array([[(p.x, p.y) for p in points] for points in faces])))
        return found

    return loop


def denied(name: str, found: list[np.ndarray], reference: list[np.ndarray], own: bool) -> str | None:
    """Why a contestant's eyes are not those of the faces in the pictures; says how well they agree."""
    if own:
        same = [
            len(a) == len(b) and (not len(a) or np.abs(a - b).max() < SAME)
            for a, b in zip(found, reference, strict=True)
        ]
        return None if all(same) else f"{name}: other eyes than align in {same.count(False)} of {len(same)} pictures"
    off = []
    for there, here in zip(found, reference, strict=True):
        if len(here):
            unit = np.linalg.norm(here[:, 0] - here[:, 1], axis=1)
            off += [float((np.linalg.norm(here - face, axis=2).mean(1) / unit).min()) for face in there]
    share = float(np.mean(np.array(off) < NEAR)) if off else 0.0
    print(f"{name}: eyes within {NEAR} of their distance of align's in {share:.0%} of its {len(off)} faces, "
          f"median {np.median(off) if off else np.nan:.3f}")  # fmt: skip
    return None if share >= MOST else f"{name}: does not agree with align about the eyes"


def rgb_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def contestants(model: Model, detector: str, only: list[str]) -> dict[str, Contestant]:
    """Those that are wanted and can run; what cannot is said."""
    found: dict[str, Contestant] = ours(model, detector)
    for name, make in {"mediapipe": mediapipe, "dlib": lambda: dlib(0), "dlib-enlarged": lambda: dlib(1)}.items():
        try:
            found[name] = make()
        except ImportError as error:
            print(f"without {name}: {error}")
    return {name: found[name] for name in found if not only or name in only}


def written(tar: Path, folder: Path, count: int, longest: int | None) -> list[Path]:
    """The first pictures of the tar as JPEG files, enlarged where ``longest`` says so."""
    folder.mkdir()
    paths: list[Path] = []
    with tarfile.open(tar) as pictures:
        for member in pictures:
            if len(paths) == count:
                break
            if member.name.lower().endswith((".jpg", ".jpeg", ".png")):
                picture = Image.open(BytesIO(pictures.extractfile(member).read())).convert("RGB")  # type: ignore[union-attr]
                if longest:
                    scale = longest / max(picture.size)
                    size = tuple(round(side * scale) for side in picture.size)
                    picture = picture.resize(size, Image.Resampling.BICUBIC)  # type: ignore[arg-type]
                paths.append(folder / f"{len(paths):05d}.jpg")
                picture.save(paths[-1], quality=92)
    return paths


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tar", type=Path)
    parser.add_argument("--detector", default="both")
    parser.add_argument("--weights", default="acdc-w16-fast")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", type=int, default=1000, help="pictures as they are")
    parser.add_argument("--large", type=int, default=200, help="pictures of 640 pixels")
    parser.add_argument("--kinds", nargs="+", default=["small", "large"], choices=["small", "large"])
    parser.add_argument("--only", nargs="+", default=[])
    args = parser.parse_args()
    cpus = len(os.sched_getaffinity(0))
    model = Model.from_pretrained(args.weights)
    rivals, faults = contestants(model, args.detector, args.only), list[str]()
    print(f"{model!r}, detector {args.detector}; {cpus} CPUs")
    with tempfile.TemporaryDirectory() as scratch:
        for kind in args.kinds:
            count, longest = (args.small, None) if kind == "small" else (args.large, 640)
            paths = written(args.tar, Path(scratch) / kind, count, longest)
            rates: dict[str, list[float]] = {name: [] for name in rivals}
            busy: dict[str, list[float]] = {name: [] for name in rivals}
            faces: dict[str, int] = {}
            first = paths[:COMPARED]  # warms up, too
            found = {name: contestant(first) for name, contestant in rivals.items()}
            reference = found["align"] if "align" in found else aligned(model, args.detector, first)
            for name, each in found.items():
                if fault := denied(name, each, reference, name.startswith(("align", "batch"))):
                    faults.append(fault)
                    print(f"left out: {fault}", flush=True)
                    del rivals[name], rates[name]
            for turn in range(args.rounds):
                names = list(rivals)
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    wall, spent = time.perf_counter(), time.process_time()
                    faces[name] = sum(map(len, rivals[name](paths)))
                    wall, spent = time.perf_counter() - wall, time.process_time() - spent
                    rates[name].append(len(paths) / wall)
                    busy[name].append(spent / wall / cpus)
            print(f"\n{kind}: {len(paths)} pictures, {args.rounds} rounds")
            for name in rivals:
                low, middle, high = np.percentile(rates[name], [25, 50, 75])
                share = 100 * float(np.median(busy[name]))
                print(f"{name:14s} {middle:8.1f} a second ({low:.1f} to {high:.1f}), CPUs {share:3.0f} % busy, "
                      f"{faces[name]} faces", flush=True)  # fmt: skip
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
