"""``python -m acdc_fast.training.fits.confidence_fit``: fits the confidence over boxes of every kind.

Each face is seen twice, in the way that `Model.align` treats boxes: once by the detector's box, once by a box that is
loose or tight and lies to one side, as boxes of other origin may be. `Model.align` cuts crops again where a box does
not fit. The confidence must tell of the errors that are left after that. The usual spread in the card is that of the
detector's boxes. Cutting again, and the decision whether there is a face at all, are relative to it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from acdc_fast.alignment import Squares
from acdc_fast.errors import InputError
from acdc_fast.model import Model
from acdc_fast.photo.coordinates import crop_to_image, square_from_box
from acdc_fast.photo.images import load_picture
from acdc_fast.readout.confidence import confidence
from acdc_fast.weights import load_weights, save_weights

from ..command_errors import check_places, errors_in_one_line
from ..sampling.augment import LOOSE_SHIFT, LOOSE_SIDES
from ..sampling.batches import open_source
from ..settings import Source
from .calibration import MIN_POINTS, NEAR, expected_calibration_error, fit_confidence
from .command import check_limit, fit_parser
from .photographs import photographs

#: Human labels for 68 and five points; rendered faces for 98 and 3D points. Shifts as in training.
SOURCES = (
    Source("aflw68", "train", shifts={"2d5": (-2.3, 0.0)}),
    Source("mtfl", "train[:500]", shift=(-0.9, 0.0)),
    Source("synthetic", "test"),
)
#: Database → markups that it places by another convention than people do.
LEFT_OUT = {"synthetic": ("2d68", "2d5")}


@dataclass(frozen=True)
class SpreadsAndErrors:
    """N faces by boxes of one kind. Spreads are in units of the crop that was read, errors in those of the crop by the
    detector's box."""

    spread: Mapping[str, np.ndarray]  # markup -> (N, L)
    error: Mapping[str, np.ndarray]  # markup -> (N, L) distance from the label; NaN where unknown
    narrowest: np.ndarray  # (N,)


def loosened(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(4,) → (4,): wider or narrower, and moved to one side, as `sampling.augment` draws boxes."""
    size = box[2:] - box[:2]
    middle = (box[:2] + box[2:]) / 2 + size * rng.uniform(-LOOSE_SHIFT, LOOSE_SHIFT, 2)
    half = size / 2 * np.exp(rng.uniform(*np.log(LOOSE_SIDES)))
    return np.concatenate([middle - half, middle + half])


def observe(model: Model, source: Source, root: Path, limit: int | None, loose: bool) -> SpreadsAndErrors:
    """At most ``limit`` faces of a source, by the detector's boxes or, with ``loose``, by loosened ones."""
    database, order = open_source(source, root), model.config.order
    spread: dict[str, list[np.ndarray]] = {m: [] for m in order}
    error: dict[str, list[np.ndarray]] = {m: [] for m in order}
    narrowest: list[np.ndarray] = []
    for batch in photographs(database, limit, source):
        boxes = [loosened(p.box, np.random.default_rng(p.index)) if loose else p.box for p in batch]
        pictures = [load_picture(p.rgb) for p in batch]
        squares, reading = model.reader.read(
            Squares.listed(pictures, [square_from_box(np.asarray(b, np.float32)) for b in boxes])
        )
        narrowest.append(reading.narrowest)
        for i, photograph in enumerate(batch):
            side = square_from_box(np.asarray(photograph.box)[None])[0, 2]
            for m in order:
                spread[m].append(reading.spread[i, reading.slices[m]])
                points = crop_to_image(reading.of(m)[i : i + 1], squares.values[i : i + 1])[0]
                left_out = m in LEFT_OUT.get(source.name, ())
                label = None if left_out else photograph.face.landmarks.get(m)
                distance = points - label if label is not None else np.full_like(points, np.nan)
                error[m].append(np.linalg.norm(distance, axis=1) / side)
    spreads, errors = ({m: np.stack(v) for m, v in each.items()} for each in (spread, error))
    return SpreadsAndErrors(spreads, errors, np.concatenate(narrowest))


def joined(parts: Sequence[SpreadsAndErrors], markup: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, L) spreads, (N,) mean spreads of all maps and (N, L) errors of the faces that have labels of a markup."""
    spread = np.concatenate([p.spread[markup] for p in parts])
    mean_spread = np.concatenate([np.concatenate([*p.spread.values()], 1).mean(1) for p in parts])
    error = np.concatenate([p.error[markup] for p in parts])
    known = np.isfinite(error).any(1)
    return spread[known], mean_spread[known], error[known]


def write_confidence(path: Path, root: Path, out: Path, limit: int | None, half: bool) -> None:
    """The weights with confidence and usual spread fitted. Prints the calibration error for each kind of box."""
    weights = load_weights(path)
    all_markups = replace(weights, markups=())
    by_detector = [observe(Model(all_markups), source, root, limit, loose=False) for source in SOURCES]
    usual = float(np.median(np.concatenate([part.narrowest for part in by_detector])))
    card = {**weights.card, "narrowest_spread": f"{usual:.5f}"}
    model = Model(replace(all_markups, card=card))
    by_others = [observe(model, source, root, limit, loose=True) for source in SOURCES]
    calibration = dict(weights.calibration)
    for markup in weights.config.order:
        spread, mean_spread, error = joined([*by_detector, *by_others], markup)
        if np.isfinite(error).sum() < MIN_POINTS:
            continue
        fitted = calibration[markup] = fit_confidence(spread, mean_spread, error)
        line = f"{markup}: own {fitted[0]:.2f}, face {fitted[1]:.2f}"
        for name, parts in (("detector's boxes", by_detector), ("others", by_others)):
            spread, mean_spread, error = joined(parts, markup)
            known = np.isfinite(error)
            right, sure = error[known] < NEAR, confidence(spread, mean_spread, fitted)[known]
            line += f"; {name}: {right.mean():.1%} right, ECE {expected_calibration_error(sure, right):.3f}"
        print(line)
    if not calibration:
        raise InputError(f"too few labelled points (under {MIN_POINTS}) of every markup of the weights")
    save_weights(out, replace(weights, calibration=calibration, card=card), half)


@errors_in_one_line()
def main(arguments: list[str] | None = None) -> int:
    parser = fit_parser("confidence_fit", __doc__)
    parser.add_argument("--limit", type=int, metavar="N", help="at most N faces of each database (default: all)")
    options = parser.parse_args(arguments)
    check_limit(options.limit)
    check_places(options)
    write_confidence(options.weights, options.data_root, options.out, options.limit, options.half)
    return 0


if __name__ == "__main__":
    sys.exit(main())
