"""``python -m acdc_fast.training.fits.visibility_fit``: fits the chance that a point is in sight.

Each of the 68 points has two logistic functions of `acdc_fast.readout.visibility.terms`: one for being covered, one for
being turned away. What joins the two to one chance is fitted to all points at once. The data are:

- photographs of `aflw68`, in which people have flagged each point as in sight, covered or turned away;
- the same photographs with a cover drawn on each face, because few points of some places, such as lower lips, are
  flagged as covered;
- rendered faces, where they are named. Their labels say which points are hidden, but not by which cause. The fit to
  people's flags tells how likely each cause is, and the label is shared out accordingly.

The mirror image of each face is used as well.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError
from acdc_fast.model import Model
from acdc_fast.readout.visibility import Visibility, visible
from acdc_fast.weights import load_weights, save_weights

from ..command_errors import check_places, errors_in_one_line
from ..data.aflw68 import AWAY_FLAG, COVERED_FLAG, VISIBLE_FLAG
from ..sampling.batches import open_source
from ..settings import Source
from .calibration import expected_calibration_error
from .command import check_limit, fit_parser
from .mirroring import with_mirrored_values
from .visibility_faces import HIDDEN, MARKUP, Flagged, observe

#: Ridge penalties for covered and for turned away: weight of the squared coefficients beside the error of one point.
#: Fewer points are turned away, and they are easier to tell. Coefficients of maps and of shape components weigh `MANY`
#: times as much, because there are many of them.
RIDGES, MANY = (10.0, 1.0), 16.0
#: Logarithm of the factor by which "turned away" counts more in the joined chance. People flag one point in forty as
#: turned away. Without the factor, doubt about whether the other points are covered would outweigh it.
AWAY = 2.75
#: Weight of a point under a drawn cover, and of a rendered point. A flagged point weighs 1.
DRAWN, RENDERED = 0.1, 0.1
MIN_FACES = 300
#: Newton steps of the logistic regression, at most.
STEPS = 25
#: Smallest standard deviation of a term. Those of faces are 0.1 and more.
MIN_DEVIATION = 0.01


def fit_visibility(people: Flagged, drawn: Flagged | None = None, rendered: Flagged | None = None) -> Visibility:
    """The two functions, from all data. What joins them is fitted to ``people`` alone."""
    terms, likely = people_terms, people_likely = flag_chances(people)
    if drawn is not None:
        more, chances = flag_chances(drawn)
        terms, likely = np.concatenate([terms, more]), np.concatenate([likely, DRAWN * chances])
    fitted = _fit_causes(terms, likely)
    if rendered is not None:
        more, chances = flag_chances(rendered, fitted)
        fitted = _fit_causes(np.concatenate([terms, more]), np.concatenate([likely, RENDERED * chances]))
    covered, away = np.split(people_terms @ fitted.numbers[MARKUP], 2, axis=1)
    joined = np.logaddexp(covered, away + AWAY).ravel()
    hidden = (people_likely[..., COVERED_FLAG] + people_likely[..., AWAY_FLAG]).ravel()
    inputs = np.column_stack([joined, np.ones_like(joined)])
    slope, offset = fit_logistic(inputs, hidden, 1 - hidden, np.full(2, 1e-3))
    return replace(fitted, scale=np.array([AWAY, slope, offset], np.float32))


def flag_chances(faces: Flagged, causes: Visibility | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(2N, T) terms of faces and mirror images, and (2N, L, 3) chances of the three flags.

    ``causes`` says whether a `HIDDEN` point is likely covered or turned away. Without it such a point has no chances.
    """
    flags = with_mirrored_values(faces.flags, MARKUP)
    terms = np.concatenate([faces.terms, faces.mirrored])
    likely = (flags[..., None] == (VISIBLE_FLAG, COVERED_FLAG, AWAY_FLAG)).astype(np.float64)
    if causes is not None:
        covered, away = np.split(terms @ causes.numbers[MARKUP], 2, axis=1)
        share = 1 / (1 + np.exp(np.clip(away - covered, -50, 50)))
        shares = np.stack([np.zeros_like(share), share, 1 - share], 2)
        likely = np.where((flags == HIDDEN)[..., None], shares, likely)
    return terms, likely


def _fit_causes(terms: np.ndarray, likely: np.ndarray) -> Visibility:
    """(N, T) terms, (N, L, 3) chances of flags → both functions; the numbers that join them are not fitted yet."""
    mean, deviation = terms.mean(0), np.maximum(terms.std(0), MIN_DEVIATION)
    mean[0], deviation[0] = 0, 1  # the constant
    inputs = (terms - mean) / deviation
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
    """(N, T) inputs, (N,) weights of "yes" and of "no", (T,) ridge penalties → (T,) coefficients of the log odds."""
    coefficients, total = np.zeros(inputs.shape[1]), yes + no
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ coefficients, -30, 30)))
        gradient = inputs.T @ (total * chance - yes) + penalties * coefficients
        hessian = (inputs * (total * chance * (1 - chance))[:, None]).T @ inputs + np.diag(penalties)
        step = np.linalg.solve(hessian, gradient)
        coefficients -= step
        if np.abs(step).max() < 1e-2:
            break
    return coefficients


def area_under_curve(chance: np.ndarray, flags: np.ndarray, cause: int) -> float:
    """How often a point in sight has a larger chance than a point hidden by this cause."""
    seen, hidden = chance[flags == VISIBLE_FLAG], chance[flags == cause]
    ranks = np.argsort(np.argsort(np.concatenate([seen, hidden]), kind="stable"), kind="stable")
    count = len(seen) * max(len(hidden), 1)
    return float((ranks[: len(seen)].sum() - len(seen) * (len(seen) - 1) / 2) / count)


def told_apart(chance: np.ndarray, flags: np.ndarray) -> dict[str, float]:
    """(N, L) chances of being in sight and flags → `area_under_curve` for each kind of hidden point that there is, and
    "ece", the expected calibration error."""
    causes = {"covered": COVERED_FLAG, "turned away": AWAY_FLAG, "hidden": HIDDEN}
    found = {name: area_under_curve(chance, flags, cause) for name, cause in causes.items() if (flags == cause).any()}
    return found | {"ece": expected_calibration_error(chance.ravel(), (flags == VISIBLE_FLAG).ravel())}


def report(faces: Flagged, visibility: Visibility) -> str:
    """Area under the curve for each kind of hidden point, and the calibration error, in one line."""
    found = told_apart(visible(faces.terms, visibility, MARKUP), faces.flags)
    error = found.pop("ece")
    parts = [f"{name} {area:.3f}" for name, area in found.items()]
    return f"area under the curve: {', '.join(parts)}; ECE {error:.3f}; {len(faces.flags)} faces"


def write_visibility(path: Path, root: Path, out: Path, rendered: Sequence[str], limit: int, half: bool) -> None:
    """The weights with both functions. ``rendered``: names of databases. Prints how well they tell points apart."""
    weights = load_weights(path)
    if weights.refinement is None or MARKUP not in weights.config.markups or not weights.config.has_pose:
        raise InputError(f"{path}: visibility needs a refinement, {MARKUP} and a head pose")
    model = Model(replace(weights, markups=()))
    people = observe(model, open_source(Source("aflw68"), root))
    if len(people.flags) < MIN_FACES:
        count = f"{MIN_FACES} flagged photographs at least, here are {len(people.flags)}"
        raise InputError(f"visibility is fitted from {count}")
    drawn = observe(model, open_source(Source("aflw68"), root), covers=True)
    parts = [observe(model, open_source(Source(name), root), limit) for name in rendered]
    drawings = None
    if parts:
        fields = ("terms", "mirrored", "flags")
        drawings = Flagged(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))
    fitted = fit_visibility(people, drawn, drawings)
    for name, faces in (("people", people), ("covers drawn", drawn), ("rendered", drawings)):
        if faces is not None:
            print(f"{name}: {report(faces, fitted)}")
    save_weights(out, replace(weights, visibility=fitted), half)


@errors_in_one_line()
def main(arguments: list[str] | None = None) -> int:
    parser = fit_parser("visibility_fit", __doc__)
    parser.add_argument("--rendered", nargs="*", default=[], metavar="NAME", help="databases of rendered faces")
    parser.add_argument("--limit", type=int, default=1000, metavar="N", help="at most N faces of each (%(default)s)")
    options = parser.parse_args(arguments)
    check_limit(options.limit)
    check_places(options)
    write_visibility(options.weights, options.data_root, options.out, options.rendered, options.limit, options.half)
    return 0


if __name__ == "__main__":
    sys.exit(main())
