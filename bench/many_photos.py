"""Photos to landmarks, many of them: our ways of doing it and other people's loops, in turns in one run.

    python bench/many_photos.py PHOTOS.tar [--detector both] [--weights acdc-w16-fast] [--rounds 5]
        [--kinds small large] [--only align mediapipe]

Two kinds of JPEG files are made of the tar's pictures: as they are (``small``), and the first ``--large`` of them
enlarged so that the longer side is 640 (``large``). For each kind and contestant: pictures a second, median and
quartiles over the rounds; the share of all CPUs that was busy; faces found. A contestant reads the files itself.

MediaPipe (up to 0.10.14) and dlib with the weights of face_recognition_models bring what they need; they run where
they are installed. face-alignment and uniface fetch their weights when they are first used, so they are not here.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
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

#: Paths of pictures → the number of faces that were aligned.
Contestant = Callable[[list[Path]], int]


def ours(model: Model, detector: str) -> dict[str, Contestant]:
    """A list, one picture at a time, and the batch job, whose Parquet file counts too; the same by Ray where it is."""

    def align(paths: list[Path]) -> int:
        return sum(len(faces) for faces in model.align_each(paths, detector=detector) if isinstance(faces, Faces))

    def one_by_one(paths: list[Path]) -> int:
        return sum(len(model.align(path, detector=detector)) for path in paths)

    def batch(cluster: str | None, paths: list[Path]) -> int:
        with tempfile.TemporaryDirectory() as folder:
            out = str(Path(folder) / "x.parquet")
            return run_batch(model, str(paths[0].parent), out, search={"detector": detector}, cluster=cluster).faces

    found: dict[str, Contestant] = {"align": align, "align-one": one_by_one, "batch": partial(batch, None)}
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

    def loop(paths: list[Path]) -> int:
        return sum(len(mesh.process(rgb_of(path)).multi_face_landmarks or ()) for path in paths)

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

    def loop(paths: list[Path]) -> int:
        found = 0
        for path in paths:
            rgb = rgb_of(path)
            found += sum(predictor(rgb, box).num_parts > 0 for box in detector(rgb, upsample))
        return found

    return loop


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


def main() -> None:
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
    rivals = contestants(model, args.detector, args.only)
    print(f"{model!r}, detector {args.detector}; {cpus} CPUs")
    with tempfile.TemporaryDirectory() as scratch:
        for kind in args.kinds:
            count, longest = (args.small, None) if kind == "small" else (args.large, 640)
            paths = written(args.tar, Path(scratch) / kind, count, longest)
            rates: dict[str, list[float]] = {name: [] for name in rivals}
            busy: dict[str, list[float]] = {name: [] for name in rivals}
            faces: dict[str, int] = {}
            for contestant in rivals.values():  # warm
                contestant(paths[:8])
            for turn in range(args.rounds):
                names = list(rivals)
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    wall, spent = time.perf_counter(), time.process_time()
                    faces[name] = rivals[name](paths)
                    wall, spent = time.perf_counter() - wall, time.process_time() - spent
                    rates[name].append(len(paths) / wall)
                    busy[name].append(spent / wall / cpus)
            print(f"\n{kind}: {len(paths)} pictures, {args.rounds} rounds")
            for name in rivals:
                low, middle, high = np.percentile(rates[name], [25, 50, 75])
                share = 100 * float(np.median(busy[name]))
                print(f"{name:14s} {middle:8.1f} a second ({low:.1f} to {high:.1f}), CPUs {share:3.0f} % busy, "
                      f"{faces[name]} faces", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
