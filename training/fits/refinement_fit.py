"""``python -m acdc_fast.training.fits.refinement_fit``: the refinement's polynomial, fitted to training faces.

On the databases of a run's settings, labels moved and left out as they say, every face and its mirror image. Each
database that has a markup counts alike. What one database's labels have in common is no truth of other faces: where a
database has five points alone (people's labels, on the widest choice of faces), the markup's own eyes, nose and mouth
corners are to follow those, up to the median distance between the two definitions, and its other points are to stay.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS, five_points, mirrored_points
from acdc_fast.readout.refinement import COMPONENTS, Refinement, refined, terms, terms_of
from acdc_fast.readout.shape_model import place_and_size, principal_components, shape_and_size
from acdc_fast.weights import load_weights, save_weights

from ..loop.validation import normaliser
from ..metrics import nme
from ..observations import observe_source
from ..one_line import in_one_line
from ..settings import read_settings
from .least_error import fit_least_error

#: Weight of the five points and of points that stay, where a database that has the markup weighs 1.
FOLLOW, STAY = 4.0, 0.3
#: Weight of the squares of the coefficients, beside that of one face's error of `SMALL` or less.
RIDGE = 30.0
#: Errors below this, in sizes of the shape (about half the face's width), count as squares, beyond it as they are.
SMALL = 0.05
STEPS = 4
#: Faces from which it is fitted at least: ten for each term.
ENOUGH = 10 * terms_of(COMPONENTS)

Points = Mapping[str, np.ndarray]  # markup -> (N, L, 2) crop units


@dataclass(frozen=True)
class Seen:
    """N faces of one database: what the network said of them, and their labels."""

    points: Points  # every markup of the network
    labels: Points  # markups that the database has, and 2d5; NaN where unknown

    def both_ways(self) -> Seen:
        """The faces and their mirror images."""
        sides = (self.points, self.labels)
        return Seen(*({m: np.concatenate([p, mirrored_points(p, m)]) for m, p in side.items()} for side in sides))


def wanted(seen: Seen, markup: str) -> tuple[np.ndarray, np.ndarray] | None:
    """(N, L, 2) points to be reached and (L,) weights; None where the database says nothing of the markup."""
    if markup in seen.labels:
        return seen.labels[markup], np.ones(seen.labels[markup].shape[1])
    if set(seen.labels) != {"2d5"}:
        return None
    own, size = seen.points[markup], place_and_size(seen.points[markup])[1]
    missing = (seen.labels["2d5"] - five_points(own, markup)) / size
    missing = (missing - np.nanmedian(missing, 0)) * size
    target, weights = np.array(own, np.float64), np.full(own.shape[1], STAY)
    # (L, 5): whose mean is which
    groups = five_points(np.eye(own.shape[1])[:, :, None] * [1.0, 1.0], markup)[..., 0] > 0
    if markup == "2d98":
        groups[96, 0] = groups[97, 1] = True  # pupils move with their eyes
    for k in range(5):
        target[:, groups[:, k]] += missing[:, k : k + 1]
        weights[groups[:, k]] = FOLLOW
    return target, weights


def fit_refinement(data: Sequence[Seen], order: Sequence[str], markups: Sequence[str]) -> Refinement:
    """By iteratively reweighted least squares; ``markups``: those that get a polynomial."""
    data = [seen.both_ways() for seen in data]
    everything = [np.concatenate([seen.points[m] for m in order], 1) for seen in data]
    counts = [len(points) for points in everything]
    shares = np.concatenate([np.full(n, sum(counts) / len(counts) / n) for n in counts])
    shapes, sizes = zip(*(shape_and_size(p) for p in everything), strict=True)
    mean, basis = principal_components(np.concatenate(shapes), COMPONENTS, shares)
    known = [terms(shape, mean, basis) for shape in shapes]
    return Refinement(mean, basis, {m: _fit_markup(data, known, sizes, m) for m in markups})


def _fit_markup(
    data: Sequence[Seen], known: Sequence[np.ndarray], sizes: Sequence[np.ndarray], markup: str
) -> np.ndarray:
    """(T, 2L) coefficients of one markup."""
    inputs, outputs, weights = [], [], []
    for seen, x, size in zip(data, known, sizes, strict=True):
        if (target := wanted(seen, markup)) is not None:
            inputs.append(x)
            outputs.append((target[0] - seen.points[markup]) / size)
            weights.append(np.where(np.isfinite(outputs[-1]).all(-1), target[1] / len(x), 0))
    x, y, w = (np.concatenate(values) for values in (inputs, outputs, weights))
    w, y = w * len(x) / len(inputs), np.nan_to_num(y)
    found = np.zeros((x.shape[1], *y.shape[1:]))
    kinds, kind_of = np.unique(w, axis=1, return_inverse=True)
    for kind, weight in enumerate(kinds.T):  # points that count alike have one set of equations
        points = np.flatnonzero(kind_of.ravel() == kind)
        found[:, points] = fit_least_error(x, y[:, points], weight, RIDGE, SMALL, STEPS)
    return found.reshape(len(found), -1)


def write_refinement(path: Path, data: Mapping[str, Seen], out: Path, half: bool = False) -> None:
    """The weights with the polynomial, for every labelled markup of more than five points; the head pose's polynomial,
    which reads the refined points, is left out: it is to be fitted anew. Prints what the mean errors become."""
    weights = load_weights(path)
    order = weights.config.order
    labelled = {m for seen in data.values() for m in seen.labels if MARKUPS[m].points > 5}
    if not (markups := [m for m in order if m in labelled]):
        raise InputError("nothing to refine: no database of the settings labels more than five points")
    count = sum(len(seen.points[order[0]]) for seen in data.values())
    if count < ENOUGH:
        raise InputError(f"the refinement is fitted from {ENOUGH} faces at least, here are {count}: raise --limit")
    refinement = fit_refinement(list(data.values()), order, markups)
    for name, seen in data.items():
        after = refined(seen.points, refinement, order)
        for markup in [m for m in markups if m in seen.labels]:
            labels = seen.labels[markup]
            whole = np.isfinite(labels).all((1, 2))
            errors = [100 * nme(p[markup][whole], labels[whole], normaliser(markup, labels[whole])).mean()
                      for p in (seen.points, after)]  # fmt: skip
            print(f"{name}: {markup} {errors[0]:.2f} % before, {errors[1]:.2f} % after, {whole.sum()} faces")
    save_weights(out, replace(weights, refinement=refinement, pose=None), half)


@in_one_line()
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m acdc_fast.training.fits.refinement_fit", description=__doc__.partition("\n")[0],
        epilog="example: python -m acdc_fast.training.fits.refinement_fit w.safetensors "
        "--config configs/w32/96-device.yaml --data-root data -o refined.safetensors",
    )  # fmt: skip
    parser.add_argument("weights", type=Path, metavar="WEIGHTS")
    parser.add_argument("--config", type=Path, required=True, metavar="YAML", help="settings of the weights' last run")
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR", help="folder that holds the databases")
    parser.add_argument("--limit", type=int, default=3000, metavar="N", help="at most N faces of each (%(default)s)")
    parser.add_argument("--half", action="store_true", help="write the weights in half precision")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="weights to be written")
    options = parser.parse_args(arguments)
    if options.limit < 1:
        raise InputError(f"--limit must be at least 1, not {options.limit}")
    settings = read_settings(options.config)
    data = {}
    for number, source in enumerate(settings.databases):
        # A teacher's points come out of such a polynomial already: here people's five are what counts.
        source = replace(source, taught=None)
        how = settings.augmentation(number)
        points, labels = observe_source(options.weights, source, options.data_root, options.limit, how)
        data[f"{source.name}/{source.split}"] = Seen(points, labels)
    write_refinement(options.weights, data, options.out, options.half)
    return 0


if __name__ == "__main__":
    sys.exit(main())
