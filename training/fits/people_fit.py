"""``python -m acdc_fast.training.fits.people_fit``: the refinement's points, moved to where people put them.

What the maps learnt from video frames and rendered faces is another convention than people's, of the jaw above all.
What the file's refinement leaves between its points and people's labels on AFLW photographs (database ``aflw68``) is
fitted by a linear function of the shape's principal components, and added to the refinement's numbers. Each face
counts with its mirror image. The network, the other markups and the head pose, which reads the 3D points, stay.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS, mirrored_points
from acdc_fast.readout.refinement import Refinement, refined, terms, terms_of
from acdc_fast.readout.shape_model import shape_and_size
from acdc_fast.weights import load_weights, save_weights

from ..observations import see_crops
from ..one_line import in_one_line
from ..settings import Source
from .least_error import fit_least_error

FITTED = ("2d68", "2d5")
#: AFLW's five points lie 2.3 pixels to the right of the features, as their mirror images tell; its 68 lie on them.
SOURCES = tuple(Source("aflw68", split, shifts={"2d5": (-2.3, 0.0)}) for split in ("train", "five"))
#: Weight of the squares of all coefficients but the constant ones, beside that of one face's error of `SMALL` or less.
RIDGE = 150.0
#: Errors below this, in sizes of the shape, count as squares, beyond it as they are. The labels are finer than those of
#: `refinement_fit`.
SMALL = 0.02
STEPS = 4
#: Faces from which it is fitted at least.
ENOUGH = 300


@dataclass(frozen=True)
class Labelled:
    """N faces: what the network alone said, and what people say. All by markup, in crop units."""

    points: Mapping[str, np.ndarray]  # (N, L, 2), every markup of the network
    labels: Mapping[str, np.ndarray]  # (N, L, 2) of `FITTED`, NaN where unknown
    weights: Mapping[str, np.ndarray]  # (N, L): 1, less where a point is covered, 0 where it is unknown

    def both_ways(self) -> Labelled:
        """The faces and their mirror images."""
        points, labels = (
            {m: np.concatenate([p, mirrored_points(p, m)]) for m, p in side.items()}
            for side in (self.points, self.labels)
        )
        return Labelled(
            points, labels, {m: np.concatenate([w, w[:, MARKUPS[m].mirror]]) for m, w in self.weights.items()}
        )


def labelled_faces(weights: Path, root: Path) -> Labelled:
    """The photographs of `SOURCES`, cut by the detector's boxes."""
    parts = [see_crops(weights, source, root) for source in SOURCES]
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
    """``refinement`` with what it leaves to the labels added; ``order``: the config's markups."""
    people = people.both_ways()
    shapes, size = shape_and_size(np.concatenate([people.points[m] for m in order], 1))
    linear = 1 + len(refinement.basis)
    known = terms(shapes, refinement.mean, refinement.basis)[:, :linear].astype(np.float64)
    before = refined(people.points, refinement, order)
    penalties = np.full(linear, ridge)
    penalties[0] = 0  # a shift that all faces share is what is looked for
    numbers = dict(refinement.numbers)
    for markup, labels in people.labels.items():
        left = (labels - before[markup]) / size
        weights = np.where(np.isfinite(left).all(-1), people.weights[markup], 0.0)
        left = np.nan_to_num(left)
        found = np.zeros((terms_of(len(refinement.basis)), *left.shape[1:]))
        for k in np.flatnonzero(weights.any(0)):
            found[:linear, k] = fit_least_error(known, left[:, k : k + 1], weights[:, k], penalties, SMALL, STEPS)[:, 0]
        found = found.reshape(len(found), -1)
        numbers[markup] = (found + numbers.get(markup, 0.0)).astype(np.float32)
    return replace(refinement, numbers=numbers)


def write_people(path: Path, people: Labelled, out: Path, ridge: float = RIDGE, half: bool = False) -> None:
    """The weights with the refinement so moved. Prints what the labels' mean distance becomes, in crop units."""
    weights = load_weights(path)
    if weights.refinement is None:
        raise InputError(f"{path}: has no refinement to add to; fit it first (refinement_fit)")
    if not people.labels:
        raise InputError(f"{path}: has neither of the markups {' and '.join(FITTED)}")
    if (count := len(next(iter(people.points.values())))) < ENOUGH:
        raise InputError(f"people's points are fitted from {ENOUGH} faces at least, here are {count}")
    order = weights.config.order
    refinement = fit_people(people, weights.refinement, order, ridge)
    before, after = (refined(people.points, r, order) for r in (weights.refinement, refinement))
    for markup, labels in people.labels.items():
        seen = people.weights[markup] > 0
        was, now = (np.linalg.norm(p[markup] - labels, axis=-1)[seen].mean() for p in (before, after))
        print(f"{markup}: {was:.5f} before, {now:.5f} after, crop units; {seen.any(1).sum()} faces")
    save_weights(out, replace(weights, refinement=refinement), half)


@in_one_line()
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m acdc_fast.training.fits.people_fit", description=__doc__.partition("\n")[0],
        epilog="example: python -m acdc_fast.training.fits.people_fit w.safetensors --data-root data -o o.safetensors",
    )  # fmt: skip
    parser.add_argument("weights", type=Path, metavar="WEIGHTS")
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR", help="folder that holds the databases")
    parser.add_argument(
        "--ridge", type=float, default=RIDGE, help="how much the faces must say for a number to be large (%(default)g)"
    )
    parser.add_argument("--half", action="store_true", help="write the weights in half precision")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="weights to be written")
    options = parser.parse_args(arguments)
    if not 0 < options.ridge < np.inf:
        raise InputError(f"--ridge must be above 0 and finite, not {options.ridge:g}")
    people = labelled_faces(options.weights, options.data_root)
    write_people(options.weights, people, options.out, options.ridge, options.half)
    return 0


if __name__ == "__main__":
    sys.exit(main())
