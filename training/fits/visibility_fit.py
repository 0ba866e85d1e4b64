"""``python -m acdc_fast.training.fits.visibility_fit``: whether a point is in sight, fitted to people's flags.

The photographs of `aflw68` have a flag for each of their 68 points: in sight, covered or turned away. Each is seen once
more with a cover drawn on it, because people flag few points of some places, such as lower lips. Rendered faces, where
they are named too, know of every point whether it is hidden, but not by what: the fit to people's flags says how
likely each cause is, and the label is shared out so. Each face counts with its mirror image. Two logistic functions of
`readout.visibility.terms` are fitted for each point, and what joins them to one chance is fitted to all points at once.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS, mirrored_points
from acdc_fast.model import Model
from acdc_fast.photo.coordinates import box_from_points
from acdc_fast.readout.visibility import Visibility, terms, visible
from acdc_fast.types import Faces
from acdc_fast.weights import Weights, load_weights, save_weights

from ..data import Database
from ..data.aflw68 import AWAY_FLAG, COVERED_FLAG, VISIBLE_FLAG
from ..observations import chosen
from ..one_line import in_one_line
from ..sampling.batches import open_source
from ..settings import Source
from .calibration import expected_calibration_error

MARKUP = "2d68"
#: Weight of the squares of the numbers, in deviations of their terms, beside one point's error: covered, turned away.
#: The latter is rarer, and simpler. Maps and components count as many times less as there are more of them.
RIDGES, MANY = (10.0, 1.0), 16.0
#: How much more a turned-away point counts in the joined chance than its share says (logarithm): where people flag one
#: point in forty as turned away, doubt whether the others are covered would bury it.
AWAY = 2.75
#: Flag of a point that is hidden, by whatever.
HIDDEN = -1
#: A point of a face with a cover drawn on it, and a rendered one, beside a flagged one.
DRAWN, RENDERED = 0.1, 0.1
#: Photographs from which it is fitted at least.
ENOUGH = 300
STEPS = 25
#: Of a term. Those of faces are 0.1 and more.
LEAST_DEVIATION = 0.01


@dataclass(frozen=True)
class Flagged:
    """N faces: the terms of each, and how likely each of its points is in sight, covered and turned away."""

    terms: np.ndarray  # (N, T)
    mirrored: np.ndarray  # (N, T) of their mirror images
    flags: np.ndarray  # (N, L) of `aflw68`, or `HIDDEN`


def covered(picture: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 with an ellipse or a rectangle on the face: one colour, noise or another part of the picture; and
    (H, W) whether it is covered."""
    size = box[2:] - box[:2]
    middle, half = box[:2] + size * rng.uniform(0.1, 1.0, 2), size * rng.uniform(0.12, 0.4, 2)
    drawn = Image.new("1", picture.shape[1::-1])
    pen = ImageDraw.Draw(drawn)
    (pen.ellipse if rng.random() < 0.5 else pen.rectangle)([*(middle - half), *(middle + half)], fill=1)
    mask, kind = np.asarray(drawn), rng.integers(3)
    if kind == 0:
        cover = np.broadcast_to(rng.integers(0, 256, 3), picture.shape)
    elif kind == 1:
        cover = rng.integers(0, 256, picture.shape)
    else:
        cover = np.roll(picture, rng.integers(picture.shape[0] // 4, 3 * picture.shape[0] // 4 + 1, 2), (0, 1))
    return np.where(mask[..., None], cover, picture).astype(np.uint8), mask


def look(model: Model, database: Database, limit: int | None = None, covers: bool = False) -> Flagged:
    """What the model says of at most ``limit`` flagged faces, by their boxes; ``covers``: with one drawn on each."""
    known, mirrored, flags = [], [], []
    indices = chosen(database, limit)
    for start in tqdm(range(0, len(indices), 16), desc=database.name, leave=False, disable=None):
        faces = [database.annotation(i) for i in indices[start : start + 16]]
        boxes = [f.box if f.box is not None else box_from_points(f.five[None])[0] for f in faces]
        pictures = [database.pictures.read(database._picture(i)) for i in indices[start : start + 16]]
        opened = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in pictures]
        masks: list[np.ndarray] = [np.zeros(picture.shape[:2], bool) for picture in opened]
        if covers:
            seeds = [np.random.default_rng(i) for i in indices[start : start + 16]]
            drawn = [covered(*each) for each in zip(opened, boxes, seeds, strict=True)]
            opened, masks = [picture for picture, _ in drawn], [mask for _, mask in drawn]
        aligned = model.align(opened, boxes=[box[None] for box in boxes])
        for face, seen, mask in zip(faces, aligned, masks, strict=True):
            both = terms_both_ways(seen, model.weights)
            known.append(both[0])
            mirrored.append(both[1])
            shown = face.attributes.get(f"visible-{MARKUP}")
            own = face.attributes[f"flags-{MARKUP}"] if shown is None else np.where(shown, VISIBLE_FLAG, HIDDEN)
            pixels = np.nan_to_num(face.landmarks[MARKUP], nan=-1).round().astype(int)
            x, y = pixels[:, 0], pixels[:, 1]
            inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
            under = inside & mask[y * inside, x * inside]
            flags.append(np.where(under & (own == VISIBLE_FLAG), COVERED_FLAG, own))
    return Flagged(np.concatenate(known), np.concatenate(mirrored), np.array(flags))


def terms_both_ways(faces: Faces, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """(N, T) terms of faces and of their mirror images."""
    assert faces.pose is not None and weights.refinement is not None
    pose, order = np.column_stack([faces.pose.yaw, faces.pose.pitch, faces.pose.roll]), weights.config.order
    points = {m: mirrored_points(p, m) for m, p in faces.landmarks.items()}
    spread = {m: s[:, MARKUPS[m].mirror] for m, s in faces.spread.items()}
    return (
        terms(faces.landmarks, faces.spread, pose, weights.refinement, order),
        terms(points, spread, pose * [-1, 1, -1], weights.refinement, order),
    )


def fit_visibility(people: Flagged, drawn: Flagged | None = None, rendered: Flagged | None = None) -> Visibility:
    """The two functions, to people's flags, to the same faces with covers drawn on them, and to rendered points with
    the causes that the former make likely. What joins the two is of people's flags alone."""
    known, likely = people_known, people_likely = gathered(people)
    if drawn is not None:
        more, flags = gathered(drawn)
        known, likely = np.concatenate([known, more]), np.concatenate([likely, DRAWN * flags])
    found = _fitted(known, likely)
    if rendered is not None:
        more, shared = gathered(rendered, found)
        found = _fitted(np.concatenate([known, more]), np.concatenate([likely, RENDERED * shared]))
    away, hides = np.split(people_known @ found.numbers[MARKUP], 2, axis=1)[::-1]
    joined = np.logaddexp(hides, away + AWAY).ravel()
    hidden = (people_likely[..., COVERED_FLAG] + people_likely[..., AWAY_FLAG]).ravel()
    inputs = np.column_stack([joined, np.ones_like(joined)])
    slope, offset = fit_logistic(inputs, hidden, 1 - hidden, np.full(2, 1e-3))
    return replace(found, scale=np.array([AWAY, slope, offset], np.float32))


def gathered(seen: Flagged, causes: Visibility | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(2N, T) terms of faces and mirror images, (2N, L, 3) how likely each flag is. Whether a hidden point of unknown
    cause is covered or turned away is told by ``causes``."""
    flags = np.concatenate([seen.flags, seen.flags[:, MARKUPS[MARKUP].mirror]])
    known = np.concatenate([seen.terms, seen.mirrored])
    likely = (flags[..., None] == (VISIBLE_FLAG, COVERED_FLAG, AWAY_FLAG)).astype(np.float64)
    if causes is not None:
        hides, away = np.split(known @ causes.numbers[MARKUP], 2, axis=1)
        share = 1 / (1 + np.exp(np.clip(away - hides, -50, 50)))
        shares = np.stack([np.zeros_like(share), share, 1 - share], 2)
        likely = np.where((flags == HIDDEN)[..., None], shares, likely)
    return known, likely


def _fitted(known: np.ndarray, likely: np.ndarray) -> Visibility:
    """The numbers, without what joins them."""
    mean, deviation = known.mean(0), np.maximum(known.std(0), LEAST_DEVIATION)
    mean[0], deviation[0] = 0, 1  # the constant
    inputs = (known - mean) / deviation
    penalties = np.full(inputs.shape[1], MANY)
    penalties[0], penalties[1:6] = 1e-2, 1.0
    columns = []
    for cause, ridge in zip((COVERED_FLAG, AWAY_FLAG), RIDGES, strict=True):
        for k in range(likely.shape[1]):
            columns.append(fit_logistic(inputs, likely[:, k, cause], likely[:, k, VISIBLE_FLAG], ridge * penalties))
    numbers = np.array(columns).T / deviation[:, None]
    numbers[0] -= mean[1:] @ numbers[1:]
    return Visibility({MARKUP: numbers.astype(np.float32)}, np.array([AWAY, 1.0, 0.0], np.float32))


def fit_logistic(inputs: np.ndarray, yes: np.ndarray, no: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """(N, T), (N,) weights of a yes and of a no, (T,) of each number's square → (T,) numbers of the log odds."""
    found, total = np.zeros(inputs.shape[1]), yes + no
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ found, -30, 30)))
        slope = inputs.T @ (total * chance - yes) + penalties * found
        bend = (inputs * (total * chance * (1 - chance))[:, None]).T @ inputs + np.diag(penalties)
        step = np.linalg.solve(bend, slope)
        found -= step
        if np.abs(step).max() < 1e-2:
            break
    return found


def told_apart(chance: np.ndarray, flags: np.ndarray, cause: int) -> float:
    """Area under the curve: how often a point in sight has a larger chance than one hidden by this cause."""
    seen, hidden = chance[flags == VISIBLE_FLAG], chance[flags == cause]
    ranks = np.argsort(np.argsort(np.concatenate([seen, hidden]), kind="stable"), kind="stable")
    count = len(seen) * max(len(hidden), 1)
    return float((ranks[: len(seen)].sum() - len(seen) * (len(seen) - 1) / 2) / count)


def report(seen: Flagged, visibility: Visibility) -> str:
    """How well points in sight are told from those covered, turned away, or hidden by whatever; and the calibration."""
    chance, parts = visible(seen.terms, visibility, MARKUP), []
    for name, cause in (("covered", COVERED_FLAG), ("turned away", AWAY_FLAG), ("hidden", HIDDEN)):
        if (seen.flags == cause).any():
            parts.append(f"{name} {told_apart(chance, seen.flags, cause):.3f}")
    error = expected_calibration_error(chance.ravel(), (seen.flags == VISIBLE_FLAG).ravel())
    return f"area under the curve: {', '.join(parts)}; ECE {error:.3f}; {len(seen.flags)} faces"


def write_visibility(path: Path, root: Path, out: Path, rendered: Sequence[str], limit: int, half: bool) -> None:
    """The weights with the two functions. Prints how well they tell points apart."""
    weights = load_weights(path)
    if weights.refinement is None or MARKUP not in weights.config.markups or not weights.config.has_pose:
        raise InputError(f"{path}: visibility needs a refinement, {MARKUP} and a head pose")
    model = Model(replace(weights, markups=()))
    people = look(model, open_source(Source("aflw68"), root))
    if len(people.flags) < ENOUGH:
        raise InputError(
            f"visibility is fitted from {ENOUGH} flagged photographs at least, here are {len(people.flags)}"
        )
    drawn = look(model, open_source(Source("aflw68"), root), covers=True)
    more = [look(model, open_source(Source(name), root), limit) for name in rendered]
    made = None
    if more:
        made = Flagged(*(np.concatenate([getattr(m, f) for m in more]) for f in ("terms", "mirrored", "flags")))
    found = fit_visibility(people, drawn, made)
    for name, seen in (("people", people), ("covers drawn", drawn), ("rendered", made)):
        if seen is not None:
            print(f"{name}: {report(seen, found)}")
    save_weights(out, replace(weights, visibility=found), half)


@in_one_line()
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m acdc_fast.training.fits.visibility_fit", description=__doc__.partition("\n")[0],
        epilog="example: python -m acdc_fast.training.fits.visibility_fit w.safetensors --data-root data -o o",
    )  # fmt: skip
    parser.add_argument("weights", type=Path, metavar="WEIGHTS")
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR", help="folder that holds the databases")
    parser.add_argument("--rendered", nargs="*", default=[], metavar="NAME", help="drawn faces beside the photographs")
    parser.add_argument("--limit", type=int, default=1000, help="faces of each of them (%(default)s)")
    parser.add_argument("--half", action="store_true", help="write the weights in half precision")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="weights to be written")
    options = parser.parse_args(arguments)
    write_visibility(options.weights, options.data_root, options.out, options.rendered, options.limit, options.half)
    return 0


if __name__ == "__main__":
    sys.exit(main())
