"""``python -m acdc_fast.training.fits.people_fit``: moves the refinement's points to where people put them.

The maps learnt from video frames and rendered faces, which place points by another convention than people, above all
on the jaw. This fit takes photographs that people have labelled (database ``aflw68``). A linear function of the shape's
principal components is fitted to the distance from the refined points to the labels, and added to the refinement's
numbers. The mirror image of each face is used as well. Nothing else in the file changes: neither the network, nor the
other markups, nor the head pose, which reads the 3D points.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError
from acdc_fast.readout.refinement import Refinement, refined, terms, terms_of
from acdc_fast.readout.shape_model import shape_and_size
from acdc_fast.weights import load_weights, save_weights

from ..command_errors import check_places, errors_in_one_line
from ..observations import predict_crops
from ..settings import Source
from .command import fit_parser
from .huber import fit_huber
from .mirroring import with_mirrored_points, with_mirrored_values

FITTED = ("2d68", "2d5")
#: The five points of AFLW lie 2.3 pixels to the right of the features, as mirror images show. Its 68 lie on them.
SOURCES = tuple(Source("aflw68", split, shifts={"2d5": (-2.3, 0.0)}) for split in ("train", "five"))
#: Ridge penalty of all coefficients but the constant ones; the error of one face, up to `SMALL`, weighs 1.
RIDGE = 150.0
#: Errors count squared below this and linearly above; unit: size of the shape. Smaller than in `refinement_fit`,
#: because these labels are more exact.
SMALL = 0.02
STEPS = 4
MIN_FACES = 300


@dataclass(frozen=True)
class Labelled:
    """N faces: output of the network alone, and labels by people. All by markup, in crop units."""

    points: Mapping[str, np.ndarray]  # (N, L, 2), every markup of the network
    labels: Mapping[str, np.ndarray]  # (N, L, 2) of `FITTED`, NaN where unknown
    weights: Mapping[str, np.ndarray]  # (N, L): 1, less where a point is covered, 0 where it is unknown

    def both_ways(self) -> Labelled:
        """The faces and their mirror images."""
        weights = {m: with_mirrored_values(w, m) for m, w in self.weights.items()}
        return Labelled(with_mirrored_points(self.points), with_mirrored_points(self.labels), weights)


def labelled_faces(weights: Path, root: Path) -> Labelled:
    """The faces of `SOURCES`, in crops by the detector's boxes."""
    parts = [predict_crops(weights, source, root) for source in SOURCES]
    crops = [crop for _, those in parts for crop in those]
    points = {m: np.concatenate([p[m] for p, _ in parts]) for m in parts[0][0]}
    fitted = [m for m in FITTED if m in points]
    unknown = {m: np.full(points[m].shape[1:], np.nan) for m in fitted}
    return Labelled(
        points,
        {m: np.stack([c.landmarks.get(m, unknown[m]) for c in crops]) for m in fitted},
        {m: np.stack([c.weights.get(m, np.zeros(len(unknown[m]))) for c in crops]) for m in fitted},
    )


def fit_people(people: Labelled, refinement: Refinement, order: Sequence[str], ridge: float = RIDGE) -> Refinement:
    """``refinement`` with the fitted step to the labels added. ``order``: the config's markups."""
    people = people.both_ways()
    shapes, size = shape_and_size(np.concatenate([people.points[m] for m in order], 1))
    linear = 1 + len(refinement.basis)
    known = terms(shapes, refinement.mean, refinement.basis)[:, :linear].astype(np.float64)
    before = refined(people.points, refinement, order)
    penalties = np.full(linear, ridge)
    penalties[0] = 0  # a shift that all faces share costs nothing
    numbers = dict(refinement.numbers)
    for markup, labels in people.labels.items():
        step = (labels - before[markup]) / size
        weights = np.where(np.isfinite(step).all(-1), people.weights[markup], 0.0)
        step = np.nan_to_num(step)
        found = np.zeros((terms_of(len(refinement.basis)), *step.shape[1:]))
        for k in np.flatnonzero(weights.any(0)):
            found[:linear, k] = fit_huber(known, step[:, k : k + 1], weights[:, k], penalties, SMALL, STEPS)[:, 0]
        found = found.reshape(len(found), -1)
        numbers[markup] = (found + numbers.get(markup, 0.0)).astype(np.float32)
    return replace(refinement, numbers=numbers)


def write_people(path: Path, people: Labelled, out: Path, ridge: float = RIDGE, half: bool = False) -> None:
    """The weights with the new refinement. Prints the mean distance to the labels before and after, crop units."""
    weights = load_weights(path)
    if weights.refinement is None:
        raise InputError(f"{path}: has no refinement to add to; fit it first (refinement_fit)")
    if not people.labels:
        raise InputError(f"{path}: has neither of the markups {' and '.join(FITTED)}")
    if (count := len(next(iter(people.points.values())))) < MIN_FACES:
        raise InputError(f"people's points are fitted from {MIN_FACES} faces at least, here are {count}")
    order = weights.config.order
    refinement = fit_people(people, weights.refinement, order, ridge)
    before, after = (refined(people.points, r, order) for r in (weights.refinement, refinement))
    for markup, labels in people.labels.items():
        seen = people.weights[markup] > 0
        was, now = (np.linalg.norm(p[markup] - labels, axis=-1)[seen].mean() for p in (before, after))
        print(f"{markup}: {was:.5f} before, {now:.5f} after, crop units; {seen.any(1).sum()} faces")
    save_weights(out, replace(weights, refinement=refinement), half)


@errors_in_one_line()
def main(arguments: list[str] | None = None) -> int:
    parser = fit_parser("people_fit", __doc__)
    parser.add_argument("--ridge", type=float, default=RIDGE, metavar="X", help="ridge penalty (%(default)g)")
    options = parser.parse_args(arguments)
    check_places(options)
    if not 0 < options.ridge < np.inf:
        raise InputError(f"--ridge must be above 0 and finite, not {options.ridge:g}")
    people = labelled_faces(options.weights, options.data_root)
    write_people(options.weights, people, options.out, options.ridge, options.half)
    return 0


if __name__ == "__main__":
    sys.exit(main())
