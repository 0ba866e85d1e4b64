r"""Fits `acdc_fast/readout/blendshapes.safetensors`: blendshapes from points, on rendered people of any expression.

    python -m acdc_fast.training.fits.blendshapes_fit acdc-w16-fast.safetensors acdc-w16-phone.safetensors \
        --tested acdc-w32.safetensors --data-root data -o FILE

``--data-root`` holds ``expressive-train.tar`` and ``expressive-test.tar`` (`python -m acdc_fast.training.synthesis
--source expressive`), with other people in each. Points are those that the named networks find. Each face and its
mirror image are used, so that the two sides of a face are told alike. Names that do not beat the best constant clearly
on the test faces, with every network, are left out of the file. The table of all names is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from acdc_fast.command_parser import Parser
from acdc_fast.errors import InputError
from acdc_fast.files import written_beside
from acdc_fast.markups import mirrored_points
from acdc_fast.model import Model
from acdc_fast.readout.blendshapes import MARKUPS, NAMES, Readout, mirrored, terms, upright
from acdc_fast.readout.shape_model import principal_components

from ..command_errors import check_places, errors_in_one_line, overwrite_argument
from ..data import Database, open_database
from .command import check_limit
from .photographs import photographs

COMPONENTS = 60
#: Weight of the squared coefficients beside the squared error of one face.
RIDGE = 100.0
#: A name is kept whose mean absolute error is at most this share of the best constant's.
CLEARLY = 0.8
#: What is tried for a name: its number is gain · (prediction − threshold), cut to [0, 1].
GAINS = (0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5)
THRESHOLDS = np.linspace(-0.1, 0.4, 26)
NOTICE = (
    "Principal components of points that networks found on rendered heads, and a polynomial in them. The heads were "
    "drawn from ICT-FaceKit light: MIT License, Copyright (c) 2020 USC Institute for Creative Technologies."
)
#: Places of the mirror images' names.
_OTHER = [NAMES.index(mirrored(name)) for name in NAMES]


@dataclass(frozen=True)
class Expressive:
    """N faces: what a network found, and the truth."""

    points: dict[str, np.ndarray]  # markup -> (N, L, 2) pixels
    matrix: np.ndarray  # (N, 3, 3) pose found
    values: np.ndarray  # (N, 52) in the order of `NAMES`

    def mirrored(self) -> Expressive:
        flip = np.array([-1.0, 1.0, 1.0])
        points = {markup: mirrored_points(p, markup) for markup, p in self.points.items()}
        return Expressive(points, flip[:, None] * self.matrix * flip, self.values[:, _OTHER])

    @property
    def joined(self) -> np.ndarray:
        return np.concatenate([self.points[markup] for markup in MARKUPS], 1)


def together(parts: Sequence[Expressive]) -> Expressive:
    return Expressive(
        {markup: np.concatenate([p.points[markup] for p in parts]) for markup in MARKUPS},
        np.concatenate([p.matrix for p in parts]),
        np.concatenate([p.values for p in parts]),
    )


def observe(model: Model, database: Database, limit: int | None = None) -> Expressive:
    """What `Model.align` finds in at most ``limit`` faces, by their boxes."""
    points: dict[str, list[np.ndarray]] = {markup: [] for markup in MARKUPS}
    matrices, values = [], []
    for batch in photographs(database, limit):
        aligned = model.align([p.rgb for p in batch], boxes=[p.box[None] for p in batch])
        for faces, photograph in zip(aligned, batch, strict=True):
            assert faces.pose is not None
            for markup in MARKUPS:
                points[markup].append(faces.landmarks[markup][0])
            matrices.append(faces.pose.matrix[0])
            values.append(photograph.face.attributes["blendshapes"])
    arrays = {markup: np.array(of, np.float64) for markup, of in points.items()}
    return Expressive(arrays, np.array(matrices, np.float64), np.array(values, np.float64))


def fit_blendshapes(faces: Expressive, components: int = COMPONENTS) -> Readout:
    """All 52 names: ridge regression, then for each name the gain and the threshold of least mean absolute error."""
    both = together([faces, faces.mirrored()])
    shape, _ = upright(both.joined, both.matrix)
    mean, basis = principal_components(shape, components, np.ones(len(shape)))
    inputs = terms(both.joined, both.matrix, mean, basis)
    penalties = np.full(inputs.shape[1], RIDGE)
    penalties[0] = 1e-6  # the constant
    numbers = np.linalg.solve(inputs.T @ inputs + np.diag(penalties), inputs.T @ both.values)
    found = inputs @ numbers
    for k, true in enumerate(both.values.T):
        _, gain, threshold = min(
            (float(np.abs(np.clip(gain * (found[:, k] - threshold), 0, 1) - true).mean()), gain, threshold)
            for gain in GAINS
            for threshold in THRESHOLDS
        )
        numbers[:, k] *= gain
        numbers[0, k] -= gain * threshold
    return Readout(NAMES, mean, basis, numbers)


def predicted(readout: Readout, faces: Expressive) -> np.ndarray:
    """(N, M) in [0, 1]."""
    known = terms(faces.joined, faces.matrix, readout.mean, readout.basis)
    return np.asarray((known @ readout.numbers).clip(0, 1))


@dataclass(frozen=True)
class Errors:
    """Of each name: mean absolute error, that of the constant that is best on the training faces, and correlation."""

    error: np.ndarray
    constant: np.ndarray
    correlation: np.ndarray

    @property
    def clear(self) -> np.ndarray:
        return np.asarray((self.constant > 0) & (self.error <= CLEARLY * self.constant))


def errors(readout: Readout, train: Expressive, test: Expressive) -> Errors:
    found, constant = predicted(readout, test), np.median(train.values, 0)
    with np.errstate(invalid="ignore"):
        centred = found - found.mean(0), test.values - test.values.mean(0)
        together = (centred[0] * centred[1]).mean(0) / (found.std(0) * test.values.std(0))
    return Errors(np.abs(found - test.values).mean(0), np.abs(constant - test.values).mean(0), np.nan_to_num(together))


def kept(found: Mapping[str, Errors]) -> list[int]:
    """Places of the names that every network tells clearly, on both sides of the face."""
    clear = np.all([each.clear for each in found.values()], 0)
    places: list[int] = np.flatnonzero(clear & clear[_OTHER]).tolist()
    return places


def table(found: Mapping[str, Errors]) -> str:
    """Markdown: one line a name; of each network the error and the correlation, and the constant's error."""
    chosen = kept(found)
    lines = ["| name | constant | " + " | ".join(found) + " | |", "| --- |" + " --- |" * (len(found) + 2)]
    for k, name in enumerate(NAMES):
        cells = [f"{each.error[k]:.3f} ({each.correlation[k]:.2f})" for each in found.values()]
        constant = next(iter(found.values())).constant[k]
        lines.append(f"| {name} | {constant:.3f} | {' | '.join(cells)} | {'read out' if k in chosen else ''} |")
    return "\n".join(lines)


def write(readout: Readout, places: Sequence[int], out: Path) -> None:
    """The file with these names alone."""
    from safetensors.numpy import save_file

    readout = replace(readout, names=tuple(NAMES[k] for k in places), numbers=readout.numbers[:, list(places)])
    # safetensors writes memory as it lies: each array must lie row by row.
    arrays = {name: np.ascontiguousarray(getattr(readout, name), np.float32) for name in ("mean", "basis", "numbers")}
    with written_beside(out) as beside:
        save_file(arrays, beside, {"names": " ".join(readout.names), "licence": NOTICE})


def fit(weights: Sequence[Path], tested: Sequence[Path], root: Path, out: Path, limit: int, test_limit: int) -> None:
    """``tested``: networks that are only tested: does the read-out serve networks that it was not fitted to?"""
    train, test = {}, {}
    for path in [*weights, *tested]:
        model = Model(path)
        missing = [m for m in MARKUPS if m not in model.markups]
        if missing or not model.config.has_pose:
            raise InputError(f"{path}: blendshapes are read from {', '.join(MARKUPS)} and the head pose")
        if path in weights:
            train[path.stem] = observe(model, open_database("expressive", root, "train"), limit)
        test[path.stem] = observe(model, open_database("expressive", root, "test"), test_limit)
    every = together(list(train.values()))
    readout = fit_blendshapes(every)
    found = {name: errors(readout, every, of) for name, of in test.items()}
    print(table(found))
    places = kept(found)
    if not places:
        raise InputError("no name beats a constant clearly: nothing is written")
    write(readout, places, out)
    print(f"{out} is written: {len(places)} names")


@errors_in_one_line()
def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        prog="python -m acdc_fast.training.fits.blendshapes_fit", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("weights", type=Path, nargs="+", metavar="WEIGHTS", help="networks whose points are read")
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR", help="folder that holds the databases")
    parser.add_argument("--tested", type=Path, nargs="*", default=[], metavar="WEIGHTS", help="only tested on these")
    parser.add_argument("--limit", type=int, default=4000, metavar="N", help="at most N faces to fit (%(default)s)")
    parser.add_argument("--test-limit", type=int, default=800, metavar="N", help="and N to test (%(default)s)")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="file to write")
    overwrite_argument(parser)
    options = parser.parse_args(arguments)
    check_limit(options.limit)
    check_limit(options.test_limit, "--test-limit")
    check_places(options)
    fit(options.weights, options.tested, options.data_root, options.out, options.limit, options.test_limit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
