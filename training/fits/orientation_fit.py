"""``python -m acdc_fast.training.fits.orientation_fit``: fits what tells that a face is not upright.

A logistic regression on the widths of all maps (`acdc_fast.readout.orientation.terms`). Each photograph of ``mtfl`` and
``aflw68`` is seen twice: leaning by up to 40°, and turned by about a quarter, a half or three quarters. The boxes are
moved a little, as those of detectors are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from acdc_fast.alignment import Squares
from acdc_fast.errors import InputError
from acdc_fast.model import Model
from acdc_fast.photo.coordinates import square_from_box
from acdc_fast.photo.images import load_picture
from acdc_fast.readout.orientation import TURNS, Upright, terms
from acdc_fast.weights import load_weights, save_weights

from ..command_errors import check_places, errors_in_one_line
from ..data import Database
from ..sampling.batches import open_source
from ..settings import Source
from .command import check_limit, fit_parser
from .photographs import photographs
from .visibility_fit import fit_logistic

SOURCES = (Source("mtfl", "train[500:1700]"), Source("aflw68"))
#: Upright faces lean by up to this much, evenly; turned ones by a quarter and this standard deviation. Degrees.
LEAN, TURNED_LEAN = 40.0, 12.0
#: Standard deviations of the boxes: of each coordinate of the centre in sides, and of log(side).
SHIFT, SCALE = 0.05, 0.12
#: Ridge penalty of the factors over their terms' standard deviations; the error of one crop weighs 1. With 10 a few
#: upright faces of the development list were turned.
RIDGE = 100.0
#: Smallest standard deviation of a term.
MIN_DEVIATION = 0.01
MIN_FACES = 300


@dataclass(frozen=True)
class Seen:
    """M crops."""

    terms: np.ndarray  # (M, T) of `orientation.terms`
    upright: np.ndarray  # (M,) bool


def two_squares(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(2, 4) squares by a box (4,), both moved a little: one in which the face leans, one in which it is turned."""
    squares = np.repeat(square_from_box(np.asarray(box, np.float64)[None]), 2, 0)
    squares[:, :2] += squares[:, 2:3] * rng.normal(0, SHIFT, (2, 2))
    squares[:, 2] *= np.exp(rng.normal(0, SCALE, 2))
    squares[:, 3] += rng.uniform(-LEAN, LEAN), rng.choice(TURNS) + rng.normal(0, TURNED_LEAN)
    return squares


def observe(model: Model, database: Database, limit: int | None) -> Seen:
    """What the whole network's maps say of at most ``limit`` faces, each in two crops."""
    reader = model.reader
    found = []
    for batch in photographs(database, limit):
        squares = [two_squares(p.box, np.random.default_rng(p.index)) for p in batch]
        seen = reader.seen(Squares.listed([load_picture(p.rgb) for p in batch], squares))
        found.append(terms(seen.points, seen.spread))
    known = np.concatenate(found)
    return Seen(known, np.arange(len(known)) % 2 == 0)


def fit_upright(seen: Seen, ridge: float = RIDGE) -> Upright:
    """The log odds that a crop's face is upright."""
    mean, deviation = seen.terms.mean(0), np.maximum(seen.terms.std(0), MIN_DEVIATION)
    mean[0], deviation[0] = 0, 1  # the constant
    penalties = np.full(len(mean), ridge)
    penalties[0] = 1e-2
    upright = seen.upright.astype(np.float64)
    numbers = fit_logistic((seen.terms - mean) / deviation, upright, 1 - upright, penalties) / deviation
    numbers[0] -= mean[1:] @ numbers[1:]
    return Upright(numbers.astype(np.float32))


def write_upright(
    path: Path, root: Path, out: Path, limit: int | None, half: bool = False, sources: Sequence[Source] = SOURCES
) -> None:
    """The weights with the log odds. Prints how many crops they tell rightly."""
    weights = load_weights(path)
    model = Model(replace(weights, markups=()))
    parts = [observe(model, open_source(source, root), limit) for source in sources]
    seen = Seen(np.concatenate([p.terms for p in parts]), np.concatenate([p.upright for p in parts]))
    if len(seen.terms) < 2 * MIN_FACES:
        raise InputError(f"upright is fitted from {MIN_FACES} faces at least, here are {len(seen.terms) // 2}")
    fitted = fit_upright(seen)
    told = (seen.terms @ fitted.numbers > 0) == seen.upright
    share = f"{told[seen.upright].mean():.2%} of {seen.upright.sum()} upright and {told[~seen.upright].mean():.2%}"
    print(f"told rightly: {share} of {(~seen.upright).sum()} turned crops")
    save_weights(out, replace(weights, upright=fitted), half)


@errors_in_one_line()
def main(arguments: list[str] | None = None) -> int:
    parser = fit_parser("orientation_fit", __doc__)
    parser.add_argument("--limit", type=int, metavar="N", help="at most N faces of each database (all)")
    options = parser.parse_args(arguments)
    check_limit(options.limit)
    check_places(options)
    write_upright(options.weights, options.data_root, options.out, options.limit, options.half)
    return 0


if __name__ == "__main__":
    sys.exit(main())
