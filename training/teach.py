"""``python -m acdc_fast.training.teach``: what trained weights say of real faces, as labels for networks to come.

Real faces are labelled with few points. The teacher looks at each and at its mirror image as `Model.align` does, with
everything added to the maps' moments; what it learns from is the mean of both looks, of the markups and the pose that
the database lacks (distillation; Hinton et al. 2015). A face on which the two looks disagree teaches nothing.
A run takes the labels where a source of its settings says ``taught: true`` (`with_taught`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from acdc_fast.errors import InputError
from acdc_fast.files import written_beside
from acdc_fast.geometry import box_from_square
from acdc_fast.model import Model
from acdc_fast.shape import place_and_size
from acdc_fast.types import Faces
from acdc_fast.weights import bundled

from .augment import MIRROR, face_square
from .data import Database, open_database
from .data.sample import Extended
from .settings import Source

#: Mean distance between the two looks, in sizes of the shape, from which nothing is taken: 4.9 % of the faces of MTFL.
APART = 0.05
#: Pictures that the teacher is given at a time.
PICTURES = 32


def labels_path(root: Path, name: str, split: str) -> Path:
    """Where the labels of a split lie."""
    return root / f"{name}-{split}-taught.npz"


def teach(model: Model, database: Database) -> dict[str, np.ndarray]:
    """``names`` (N,), markup -> (N, L, 2) pixels, ``pose`` (N, 3) degrees, ``apart`` (N,) of both looks."""
    markups = [m for m in model.markups if len(MIRROR[m]) > 5]
    found: dict[str, list[np.ndarray]] = {key: [] for key in (*markups, "pose", "apart")}
    for start in tqdm(range(0, len(database), PICTURES), desc=database.name, leave=False, disable=None):
        samples = [database[i] for i in range(start, min(start + PICTURES, len(database)))]
        pictures = [sample.image for sample in samples]
        boxes = [box_from_square(face_square(sample)[None]) for sample in samples]
        plain = model.align(pictures, boxes=boxes)
        mirrored = model.align([p[:, ::-1].copy() for p in pictures], boxes=[
            np.array([[p.shape[1] - 1 - b[0, 2], b[0, 1], p.shape[1] - 1 - b[0, 0], b[0, 3]]])
            for p, b in zip(pictures, boxes, strict=True)
        ])  # fmt: skip
        for picture, one, other in zip(pictures, plain, mirrored, strict=True):
            points = [_looks(one, other, markup, picture.shape[1]) for markup in markups]
            for markup, (a, b) in zip(markups, points, strict=True):
                found[markup].append((a + b) / 2)
            a, b = (np.concatenate([p[k] for p in points]) for k in (0, 1))
            size = place_and_size(((a + b) / 2)[None])[1].item()
            found["apart"].append(np.linalg.norm(a - b, axis=1).mean() / size)
            found["pose"].append((_angles(one) + _angles(other) * (-1, 1, -1)) / 2)
    made = {key: np.asarray(values, np.float32) for key, values in found.items()}
    return {"names": np.array([database.annotation(i).name for i in range(len(database))]), **made}


def _looks(plain: Faces, mirrored: Faces, markup: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(L, 2) twice: the points of a picture, and those of its mirror image where they lie in the picture."""
    back = mirrored.landmarks[markup][0] * (-1, 1) + (width - 1, 0)
    return plain.landmarks[markup][0].astype(np.float64), back[MIRROR[markup]]


def _angles(faces: Faces) -> np.ndarray:
    if faces.pose is None:
        return np.full(3, np.nan)
    return np.array([faces.pose.yaw[0], faces.pose.pitch[0], faces.pose.roll[0]], np.float64)


def with_taught(database: Database, source: Source, root: Path) -> Database:
    """Adds the teacher's labels of the markups that the database lacks, and its pose where the database has none.

    They lie on the features, so the source's ``shift``, which is to come, is taken off. Raises `InputError` where the
    labels are missing, broken or of other faces.
    """
    path = labels_path(root, source.name, source.split.partition("[")[0])
    try:
        with np.load(path, allow_pickle=False) as file:
            made = dict(file)
        places = {name: k for k, name in enumerate(made["names"].tolist())}
        rows = np.array([places[database.annotation(i).name] for i in range(len(database))])
        good = made["apart"][rows] < APART
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; python -m acdc_fast.training.teach writes it") from error
    except KeyError as error:
        raise InputError(f"{path}: nothing of {error} there: made for another list of faces?") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not labels of a teacher: {error}") from error
    markups = [m for m in made if m in MIRROR and m not in database.markups]
    points = {m: made[m][rows] - np.float32(source.shift) for m in markups}
    weights = {m: np.repeat(good[:, None], p.shape[1], 1).astype(np.float32) for m, p in points.items()}
    posed = database.annotation(0).pose is not None
    poses = None if posed else np.where(good[:, None], made["pose"][rows], np.nan)
    return Extended(database, None, poses, points, weights)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m acdc_fast.training.teach", description="Labels of trained weights for faces that lack them.",
        epilog="example: python -m acdc_fast.training.teach acdc-w32 --data-root data --database mtfl",
    )  # fmt: skip
    parser.add_argument("weights", metavar="WEIGHTS", help="the teacher: a file or a name in the package")
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR", help="folder that holds the databases")
    parser.add_argument("--database", required=True, metavar="NAME", help="its faces are labelled")
    parser.add_argument("--split", default="train", help="of the database (default: train)")
    parser.add_argument("--threads", type=int, help="of the teacher (default: all cores)")
    options = parser.parse_args(arguments)
    try:
        model = Model(bundled().get(options.weights, options.weights), threads=options.threads)
        database = open_database(options.database, options.data_root, options.split)
        made = teach(model, database)
        path = labels_path(options.data_root, options.database, options.split)
        with written_beside(path) as beside, open(beside, "wb") as file:
            np.savez(file, **made)  # type: ignore[arg-type]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{path}: {len(database)} faces, {(made['apart'] >= APART).mean():.1%} of them teach nothing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
