"""Writes `acdc_fast/readout/head_shape.safetensors`: how the 3D 68 points of heads lie and vary, from rendered people.
`acdc_fast.readout.head_shape` reads the file and fits its shape to a face.

    python -m acdc_fast.training.synthesis.head_shape --data-root data -o acdc_fast/readout/head_shape.safetensors

Of 4 000 people of the training split with an expression each, the points are read in the head's frame: origin between
the outer eye corners, unit their mean distance, axes those of the pose. Each head is brought to the mean's place and
size. What is kept are the mean and the first principal components, each times the deviation along it. The heads are
draws from ICT-FaceKit (MIT); no vertex of the model is in the file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from acdc_fast.command_parser import Parser
from acdc_fast.files import written_beside

from ..command_errors import check_places, errors_in_one_line, overwrite_argument
from .markup import Points, brow_edges
from .mesh import FILE, FaceModel, load_model
from .person import apply_expression, sample_expression, sample_identity
from .pose import head_to_camera

PEOPLE, COMPONENTS = 4000, 24
NOTICE = (
    "Mean and principal components of points on heads drawn from ICT-FaceKit light. ICT-FaceKit: MIT License, "
    "Copyright (c) 2020 USC Institute for Creative Technologies."
)


def heads(model: FaceModel, count: int) -> np.ndarray:
    """(count, 68, 3) points in cm, in the frame of the pose: x right, y up, z ahead of a face seen from the front."""
    flip, neutral = np.array([1, -1, 1]), head_to_camera(np.zeros(3))
    points = Points(model, brow_edges(0.0, 1.0, 0.0))
    found = []
    for seed in range(count):
        rng = np.random.default_rng([4, seed])
        strengths, gaze = sample_expression(model, rng)
        head = apply_expression(model, sample_identity(model, rng), strengths, gaze)
        found.append(points.read((head * flip).astype(np.float32), 0.0)["3d68"] * flip @ neutral.T)
    return np.array(found, np.float64)


def shape_of(found: np.ndarray, components: int = COMPONENTS) -> tuple[np.ndarray, np.ndarray]:
    """(N, 68, 3) → mean (68, 3) and components (K, 68, 3), in mean distances of the outer eye corners (36, 45)."""
    moved = found - found.mean(1, keepdims=True)
    size = np.sqrt((moved**2).mean((1, 2), keepdims=True))
    moved = moved / size * size.mean()
    mean = moved.mean(0)
    _, deviation, directions = np.linalg.svd((moved - mean).reshape(len(moved), -1), full_matrices=False)
    parts = directions[:components] * deviation[:components, None] / np.sqrt(len(moved))
    unit = np.linalg.norm(mean[45] - mean[36])
    origin = (mean[36] + mean[45]) / 2
    return (mean - origin) / unit, parts.reshape(-1, 68, 3) / unit


@errors_in_one_line()
def main(arguments: list[str] | None = None) -> int:
    from safetensors.numpy import save_file

    parser = Parser(
        prog="python -m acdc_fast.training.synthesis.head_shape",
        description="Writes the shape of heads that a camera's pose is fitted with.",
    )
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds ict_facekit.npz")
    parser.add_argument("-o", "--output", type=Path, required=True)
    overwrite_argument(parser)
    options = parser.parse_args(arguments)
    check_places(options, options.output)
    mean, parts = shape_of(heads(load_model(options.data_root / FILE), PEOPLE))
    with written_beside(options.output) as beside:
        arrays: dict[str, np.ndarray] = {"mean": mean.astype(np.float32), "components": parts.astype(np.float16)}
        save_file(arrays, beside, {"licence": NOTICE})
    print(f"{options.output} is written: {len(parts)} components")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
