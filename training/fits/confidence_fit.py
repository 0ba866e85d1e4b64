"""``python -m acdc_fast.training.fits.confidence_fit``: the confidence, over boxes of every kind.

Each face is seen twice, through what `Model.align` does with boxes: by the detector's box and by one that is loose or
tight and lies to one side, as other people's boxes do. What is left wrong after crops are cut again is to say so.
The usual spread, which cutting again and the verdict whether there is a face ask for, is that of the detector's boxes.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from acdc_fast.errors import InputError
from acdc_fast.model import Model
from acdc_fast.photo.coordinates import box_from_points, crop_to_image, square_from_box
from acdc_fast.photo.images import load_picture
from acdc_fast.readout.confidence import confidence, narrowest_spread, spread_of
from acdc_fast.weights import load_weights, save_weights

from ..observations import chosen
from ..one_line import in_one_line
from ..sampling.augment import LOOSE_SHIFT, LOOSE_SIDES
from ..sampling.batches import moved, open_source
from ..settings import Source
from .calibration import ENOUGH, NEAR, expected_calibration_error, fit_confidence

#: People's points for 68 and five, rendered faces for all of 98 and 3D. Shifts as in training.
SOURCES = (
    Source("aflw68", "train", shifts={"2d5": (-2.3, 0.0)}),
    Source("mtfl", "train[:500]", shift=(-0.9, 0.0)),
    Source("synthetic", "test"),
)
#: Rendered 68 points follow another convention than people's.
LEFT_OUT = {"synthetic": ("2d68", "2d5")}


@dataclass(frozen=True)
class Seen:
    """N faces by boxes of one kind. Crop units: of the crop that was read for spreads, of the detector's for errors."""

    spread: Mapping[str, np.ndarray]  # markup -> (N, L)
    gap: Mapping[str, np.ndarray]  # markup -> (N, L) distance from the label; NaN where unknown
    narrowest: np.ndarray  # (N,)


def loosened(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(4,) → (4,): wider or narrower, and to one side, as `sampling.augment` draws them."""
    size = box[2:] - box[:2]
    middle = (box[:2] + box[2:]) / 2 + size * rng.uniform(-LOOSE_SHIFT, LOOSE_SHIFT, 2)
    half = size / 2 * np.exp(rng.uniform(*np.log(LOOSE_SIDES)))
    return np.concatenate([middle - half, middle + half])


def look(model: Model, source: Source, root: Path, limit: int | None, loose: bool) -> Seen:
    """At most ``limit`` faces of a source, by the detector's boxes or by loosened ones."""
    database, order = open_source(source, root), model.config.order
    indices = chosen(database, limit)
    spread: dict[str, list[np.ndarray]] = {m: [] for m in order}
    gap: dict[str, list[np.ndarray]] = {m: [] for m in order}
    least: list[np.ndarray] = []
    for start in tqdm(range(0, len(indices), 16), desc=database.name, leave=False, disable=None):
        some = indices[start : start + 16]
        faces = [moved(database[i], source) for i in some]
        own = [f.box if f.box is not None else box_from_points(f.five[None])[0] for f in faces]
        given = [loosened(b, np.random.default_rng(i)) for i, b in zip(some, own, strict=True)] if loose else own
        pictures = [database.pictures.read(database._picture(i)) for i in some]
        opened = [load_picture(Image.open(io.BytesIO(data)).convert("RGB")) for data in pictures]
        squares, predictions = model.alignment.read(opened, [np.asarray(b, np.float32)[None] for b in given])
        for face, box, square, said in zip(faces, own, squares, predictions, strict=True):
            side = square_from_box(np.asarray(box)[None])[0, 2]
            least.append(narrowest_spread(said))
            for m in order:
                spread[m].append(spread_of(said.covariance[m])[0])
                points = crop_to_image(np.asarray(said.landmarks[m]), square)[0]
                label = face.landmarks.get(m) if m not in LEFT_OUT.get(source.name, ()) else None
                away = points - label if label is not None else np.full_like(points, np.nan)
                gap[m].append(np.linalg.norm(away, axis=1) / side)
    spreads, gaps = ({m: np.stack(v) for m, v in each.items()} for each in (spread, gap))
    return Seen(spreads, gaps, np.concatenate(least))


def joined(parts: Sequence[Seen], markup: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, L) spreads, (N,) mean spreads of all maps and (N, L) errors of the faces that have labels of a markup."""
    spread = np.concatenate([s.spread[markup] for s in parts])
    face = np.concatenate([np.concatenate([*s.spread.values()], 1).mean(1) for s in parts])
    gap = np.concatenate([s.gap[markup] for s in parts])
    known = np.isfinite(gap).any(1)
    return spread[known], face[known], gap[known]


def write_confidence(path: Path, root: Path, out: Path, limit: int | None, half: bool) -> None:
    """The weights with confidence and usual spread fitted; prints the calibration error by kind of box."""
    weights = load_weights(path)
    everything = replace(weights, markups=())
    plain = [look(Model(everything), source, root, limit, loose=False) for source in SOURCES]
    usual = float(np.median(np.concatenate([s.narrowest for s in plain])))
    card = {**weights.card, "narrowest_spread": f"{usual:.5f}"}
    model = Model(replace(everything, card=card))
    loose = [look(model, source, root, limit, loose=True) for source in SOURCES]
    found = dict(weights.calibration)
    for markup in weights.config.order:
        spread, face, gap = joined([*plain, *loose], markup)
        if np.isfinite(gap).sum() < ENOUGH:
            continue
        found[markup] = fit_confidence(spread, face, gap)
        told = f"{markup}: own {found[markup][0]:.2f}, face {found[markup][1]:.2f}"
        for name, parts in (("detector's boxes", plain), ("others", loose)):
            spread, face, gap = joined(parts, markup)
            known = np.isfinite(gap)
            right, sure = gap[known] < NEAR, confidence(spread, face, found[markup])[known]
            told += f"; {name}: {right.mean():.1%} right, ECE {expected_calibration_error(sure, right):.3f}"
        print(told)
    if not found:
        raise InputError(f"too few labelled points (under {ENOUGH}) of every markup of the weights")
    save_weights(out, replace(weights, calibration=found, card=card), half)


@in_one_line()
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m acdc_fast.training.fits.confidence_fit", description=__doc__.partition("\n")[0],
        epilog="example: python -m acdc_fast.training.fits.confidence_fit w.safetensors --data-root data -o o",
    )  # fmt: skip
    parser.add_argument("weights", type=Path, metavar="WEIGHTS")
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR", help="folder that holds the databases")
    parser.add_argument("--limit", type=int, help="faces of each database (default: all)")
    parser.add_argument("--half", action="store_true", help="write the weights in half precision")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="weights to be written")
    options = parser.parse_args(arguments)
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit must be at least 1, not {options.limit}")
    write_confidence(options.weights, options.data_root, options.out, options.limit, options.half)
    return 0


if __name__ == "__main__":
    sys.exit(main())
