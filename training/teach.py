"""``python -m acdc_fast.training.teach``: labels by trained weights for real faces, to train other networks with.

Real faces have few labelled points. The teacher sees each face and its mirror image as `Model.align` does, with all
corrections. The labels are the means of both results, for the markups and the pose that the database lacks
(distillation; Hinton et al. 2015). A face on which the two results disagree is not used. A run takes the labels if a
source of its settings says ``taught: TEACHER`` (`taught`).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from acdc_fast.command_parser import Parser
from acdc_fast.errors import InputError
from acdc_fast.files import written_beside
from acdc_fast.markups import MARKUPS
from acdc_fast.model import Model
from acdc_fast.photo.coordinates import box_from_square
from acdc_fast.readout.shape_model import place_and_size
from acdc_fast.types import Faces
from acdc_fast.weights import bundled

from .command_errors import check_places, errors_in_one_line, overwrite_argument
from .data import Database, open_database
from .data.taught import APART, labels_path
from .sampling.augment import face_square
from .settings import read_settings

#: Pictures in each call of the teacher.
PICTURES = 32


def teach(model: Model, database: Database) -> dict[str, np.ndarray]:
    """``names`` (N,), markup -> (N, L, 2) pixels, ``pose`` (N, 3) degrees, ``apart`` (N,): distance of both results."""
    markups = [m for m in model.markups if MARKUPS[m].points > 5]
    if not markups or not len(database):
        what = "the weights have no markup of more than five points" if not markups else f"{database.name} has no faces"
        raise InputError(f"nothing to teach: {what}")
    found: dict[str, list[np.ndarray]] = {key: [] for key in (*markups, "pose", "apart")}
    names: list[str] = []
    for start in tqdm(range(0, len(database), PICTURES), desc=database.name, leave=False, disable=None):
        samples = [database[i] for i in range(start, min(start + PICTURES, len(database)))]
        names += [sample.name for sample in samples]
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
    return {"names": np.array(names), **made}


def _looks(plain: Faces, mirrored: Faces, markup: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(L, 2) twice: the points found in a picture, and those found in its mirror image, mirrored back."""
    back = mirrored.landmarks[markup][0] * (-1, 1) + (width - 1, 0)
    return plain.landmarks[markup][0].astype(np.float64), back[MARKUPS[markup].mirror]


def _angles(faces: Faces) -> np.ndarray:
    if faces.pose is None:
        return np.full(3, np.nan)
    return np.array([faces.pose.yaw[0], faces.pose.pitch[0], faces.pose.roll[0]], np.float64)


@errors_in_one_line()
def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        prog="python -m acdc_fast.training.teach", description="Labels of trained weights for faces that lack them.",
        epilog="example: python -m acdc_fast.training.teach acdc-w32 --data-root data --database mtfl",
    )  # fmt: skip
    parser.add_argument("weights", metavar="WEIGHTS", help="the teacher: a file or a name in the package")
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR", help="folder that holds the databases")
    parser.add_argument("--database", required=True, metavar="NAME", help="database to label")
    parser.add_argument("--split", default="train", help="split of the database (default: train)")
    parser.add_argument("--config", type=Path, metavar="YAML", help="settings with the database's own markups")
    parser.add_argument("--threads", type=int, help="threads of the teacher (default: all cores)")
    overwrite_argument(parser)
    options = parser.parse_args(arguments)
    path = labels_path(options.data_root, options.database, options.split, Path(options.weights).stem)
    check_places(options, path)
    if options.config:
        read_settings(options.config)  # makes its markups known
    model = Model(bundled().get(options.weights, options.weights), threads=options.threads)
    database = open_database(options.database, options.data_root, options.split)
    made = teach(model, database)
    with written_beside(path) as beside:
        np.savez(beside, **made)  # type: ignore[arg-type]
    print(f"{path}: {len(database)} faces, {(made['apart'] >= APART).mean():.1%} of them not used (unsure)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
