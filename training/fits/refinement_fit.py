"""``python -m acdc_fast.training.fits.refinement_fit``: fits the refinement's polynomial to training faces.

The databases are those of a run's settings, with labels moved or left out as these say. The mirror image of each face
is used as well. All databases that have a markup have equal weight in its fit.

One database has errors of its own in its labels, and other faces should not inherit them. So databases with five points
alone take part, too: these are labels by people, on the widest choice of faces. In them, the eyes, nose and mouth
corners of the markup follow the five points, up to the median distance between the two definitions. The other points
should stay.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS, five_points
from acdc_fast.readout.refinement import COMPONENTS, Refinement, refined, terms, terms_of
from acdc_fast.readout.shape_model import place_and_size, principal_components, shape_and_size
from acdc_fast.weights import load_weights, save_weights

from ..command_errors import check_places, errors_in_one_line
from ..loop.validation import normaliser
from ..metrics import nme
from ..observations import observe_source
from ..settings import read_settings
from .command import check_limit, fit_parser
from .huber import fit_huber
from .mirroring import with_mirrored_points

#: Weight of the points that follow, and of those that stay. A point of a database that has the markup weighs 1.
FOLLOW, STAY = 4.0, 0.3
#: Ridge penalty of the coefficients; the error of one face, up to `SMALL`, weighs 1.
RIDGE = 30.0
#: Errors count squared below this and linearly above; unit: size of the shape (about half the face's width).
SMALL = 0.05
STEPS = 4
#: Ten faces for each term.
MIN_FACES = 10 * terms_of(COMPONENTS)

Points = Mapping[str, np.ndarray]  # markup -> (N, L, 2) crop units


@dataclass(frozen=True)
class Labelled:
    """N faces of one database: output of the network alone, and labels."""

    points: Points  # every markup of the network
    labels: Points  # markups that the database has, and 2d5; NaN where unknown

    def both_ways(self) -> Labelled:
        """The faces and their mirror images."""
        return Labelled(with_mirrored_points(self.points), with_mirrored_points(self.labels))


def targets(faces: Labelled, markup: str) -> tuple[np.ndarray, np.ndarray] | None:
    """(N, L, 2) points to reach, and (L,) weights. None if the database has no labels for the markup."""
    if markup in faces.labels:
        return faces.labels[markup], np.ones(faces.labels[markup].shape[1])
    if set(faces.labels) != {"2d5"}:
        return None
    own, size = faces.points[markup], place_and_size(faces.points[markup])[1]
    step = (faces.labels["2d5"] - five_points(own, markup)) / size
    step = (step - np.nanmedian(step, 0)) * size
    target, weights = np.array(own, np.float64), np.full(own.shape[1], STAY)
    # (L, 5): whether the point is one of those whose mean is the k-th of the five.
    groups = five_points(np.eye(own.shape[1])[:, :, None] * [1.0, 1.0], markup)[..., 0] > 0
    if markup == "2d98":
        groups[96, 0] = groups[97, 1] = True  # pupils move with their eyes
    for k in range(5):
        target[:, groups[:, k]] += step[:, k : k + 1]
        weights[groups[:, k]] = FOLLOW
    return target, weights


def fit_refinement(data: Sequence[Labelled], order: Sequence[str], markups: Sequence[str]) -> Refinement:
    """The polynomials of ``markups``, by `fit_huber`. ``order``: the config's markups."""
    data = [faces.both_ways() for faces in data]
    everything = [np.concatenate([faces.points[m] for m in order], 1) for faces in data]
    counts = [len(points) for points in everything]
    shares = np.concatenate([np.full(n, sum(counts) / len(counts) / n) for n in counts])
    shapes, sizes = zip(*(shape_and_size(p) for p in everything), strict=True)
    mean, basis = principal_components(np.concatenate(shapes), COMPONENTS, shares)
    known = [terms(shape, mean, basis) for shape in shapes]
    return Refinement(mean, basis, {m: _fit_markup(data, known, sizes, m) for m in markups})


def _fit_markup(
    data: Sequence[Labelled], known: Sequence[np.ndarray], sizes: Sequence[np.ndarray], markup: str
) -> np.ndarray:
    """(T, 2L) coefficients of one markup."""
    inputs, outputs, weights = [], [], []
    for faces, x, size in zip(data, known, sizes, strict=True):
        if (target := targets(faces, markup)) is not None:
            inputs.append(x)
            outputs.append((target[0] - faces.points[markup]) / size)
            weights.append(np.where(np.isfinite(outputs[-1]).all(-1), target[1] / len(x), 0))
    x, y, w = (np.concatenate(values) for values in (inputs, outputs, weights))
    w, y = w * len(x) / len(inputs), np.nan_to_num(y)
    found = np.zeros((x.shape[1], *y.shape[1:]))
    kinds, kind_of = np.unique(w, axis=1, return_inverse=True)
    for kind, weight in enumerate(kinds.T):  # points of equal weights share one set of equations
        points = np.flatnonzero(kind_of.ravel() == kind)
        found[:, points] = fit_huber(x, y[:, points], weight, RIDGE, SMALL, STEPS)
    return found.reshape(len(found), -1)


def write_refinement(path: Path, data: Mapping[str, Labelled], out: Path, half: bool = False) -> None:
    """The weights with polynomials for all labelled markups of more than five points. Prints the mean errors.

    The head pose's polynomial reads the refined points. It is left out, and must be fitted again.
    """
    weights = load_weights(path)
    order = weights.config.order
    labelled = {m for faces in data.values() for m in faces.labels if MARKUPS[m].points > 5}
    if not (markups := [m for m in order if m in labelled]):
        raise InputError("nothing to refine: no database of the settings labels more than five points")
    count = sum(len(faces.points[order[0]]) for faces in data.values())
    if count < MIN_FACES:
        raise InputError(f"the refinement is fitted from {MIN_FACES} faces at least, here are {count}: raise --limit")
    refinement = fit_refinement(list(data.values()), order, markups)
    for name, faces in data.items():
        after = refined(faces.points, refinement, order)
        for markup in [m for m in markups if m in faces.labels]:
            labels = faces.labels[markup]
            whole = np.isfinite(labels).all((1, 2))
            errors = [100 * nme(p[markup][whole], labels[whole], normaliser(markup, labels[whole])).mean()
                      for p in (faces.points, after)]  # fmt: skip
            print(f"{name}: {markup} {errors[0]:.2f} % before, {errors[1]:.2f} % after, {whole.sum()} faces")
    save_weights(out, replace(weights, refinement=refinement, pose=None), half)


@errors_in_one_line()
def main(arguments: list[str] | None = None) -> int:
    parser = fit_parser("refinement_fit", __doc__, "--config configs/w32/96-device.yaml ")
    parser.add_argument("--config", type=Path, required=True, metavar="YAML", help="settings of the weights' last run")
    parser.add_argument("--limit", type=int, default=3000, metavar="N", help="at most N faces of each (%(default)s)")
    options = parser.parse_args(arguments)
    check_limit(options.limit)
    check_places(options)
    settings = read_settings(options.config)
    data = {}
    for number, source in enumerate(settings.databases):
        # The points of a teacher come from such a polynomial. Only the labels by people are of use here.
        source = replace(source, taught=None)
        augmentation = settings.augmentation(number)
        points, labels = observe_source(options.weights, source, options.data_root, options.limit, augmentation)
        data[f"{source.name}/{source.split}"] = Labelled(points, labels)
    write_refinement(options.weights, data, options.out, options.half)
    return 0


if __name__ == "__main__":
    sys.exit(main())
