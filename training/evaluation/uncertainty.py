"""How well the spread of an attention map predicts its error (the paper's §IV-F leaves this as future work).

Measured are: Spearman's correlation with the true error; the calibration error of the confidence; the error of the
faces that remain after the most doubtful are removed (risk against coverage); and whether the spread of points rises
when the half of the face that they lie in is covered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import torch

from acdc_fast.network import ACDC
from acdc_fast.readout.confidence import confidence

from .. import metrics
from ..data import Database
from ..fits.calibration import NEAR, expected_calibration_error
from ..loop.validation import normaliser
from ..observations import Observations, chosen
from ..sampling.augment import crop_face

#: The error is printed for these shares of faces kept.
COVERAGES = (1.0, 0.9, 0.8, 0.6, 0.4)


def uncertainty(seen: Observations, markup: str, calibration: Mapping[str, tuple[float, ...]]) -> dict[str, Any]:
    """Figures for a markup's labelled points on found faces, errors in % of the normaliser. Empty below 3 faces."""
    target, known = seen.labelled(markup)
    found = ~seen.missed[known]
    target, known = target[found], known[found]
    if len(known) < 3:
        return {}
    scale = normaliser(markup, target)
    errors = metrics.point_errors(seen.points[-1][markup][known], target, scale)
    spread = seen.spread[markup][known]
    per_face = {"spread": spread.mean(1), "error": errors.mean(1)}
    values: dict[str, Any] = {
        "spearman": metrics.rank_correlation(spread.ravel(), errors.ravel()),
        "spearman_faces": metrics.rank_correlation(per_face["spread"], per_face["error"]),
        "risk": [100 * risk(per_face["error"], per_face["spread"], share) for share in COVERAGES],
    }
    if markup in calibration:
        sure = confidence(spread, seen.mean_spreads[-1][known], calibration[markup])
        gap = np.linalg.norm(seen.points[-1][markup][known] - target, axis=2) / seen.side[known, None]
        values["ece"] = expected_calibration_error(sure.ravel(), (gap < NEAR).ravel())
        values["spearman_confidence"] = metrics.rank_correlation(-sure.ravel(), errors.ravel())
        if metrics.has_eye_line(markup):  # a constant offset of the labels is no error of the points
            fair = metrics.offset_removed_errors(seen.points[-1][markup][known], target, markup)
            values["spearman_confidence_offset_removed"] = metrics.rank_correlation(-sure.ravel(), fair.ravel())
    return values


def risk(errors: np.ndarray, spreads: np.ndarray, coverage: float) -> float:
    """Mean error of the share ``coverage`` of faces with the least doubt (at least one face)."""
    kept = max(1, round(coverage * len(errors)))
    return float(errors[np.argsort(spreads, kind="stable")[:kept]].mean())


def draw_risk(observed: Mapping[str, Observations], path: Path | IO[bytes]) -> None:
    """Risk against coverage for each labelled markup. Dashed: sorted by the true errors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    shares = np.linspace(0.1, 1, 46)
    for name, seen in observed.items():
        for markup in seen.points[-1]:
            target, known = seen.labelled(markup)
            found = ~seen.missed[known]
            if found.sum() < 3:
                continue
            target, known = target[found], known[found]
            errors = 100 * metrics.nme(seen.points[-1][markup][known], target, normaliser(markup, target))
            spread = seen.spread[markup][known].mean(1)
            (line,) = axis.plot(shares, [risk(errors, spread, s) for s in shares], label=f"{name}, {markup}")
            axis.plot(shares, [risk(errors, errors, s) for s in shares], "--", color=line.get_color(), linewidth=0.7)
    axis.set(xlabel="share of faces kept, least doubtful first", ylabel="their NME, %", xlim=(0.1, 1), ylim=(0, None))
    if axis.lines:
        axis.legend(frameon=False)
    figure.savefig(path, dpi=120)


@torch.no_grad()
def half_hidden(network: ACDC, database: Database, resolution: int, limit: int | None = None) -> dict[str, list[float]]:
    """Covers the left, right, upper and lower half of each crop in turn with a grey plane.

    Markup → mean spread in crop units: of the points that are covered, before and after; then of the points that stay
    visible, before and after. A point is covered if the network found it in that half on the whole crop.
    """
    size, half = resolution, resolution // 2
    parts = [np.s_[:, :half], np.s_[:, half:], np.s_[:half], np.s_[half:]]
    sums = {m: np.zeros((2, 3)) for m in network.config.order}  # hidden and seen: count, spread before and after
    for index in chosen(database, limit):
        whole = crop_face(database[index], resolution).image[0]
        crops = np.stack([whole, *(whole for _ in parts)])
        for crop, part in zip(crops[1:], parts, strict=True):
            crop[part] = int(crop.mean())
            crop[:] = cv2.GaussianBlur(crop, (0, 0), size / 128)  # soften the edge of the plane
        crops[0] = cv2.GaussianBlur(whole, (0, 0), size / 128)
        prediction = network.eval()(torch.from_numpy(crops[:, None]).float() / 255)
        for markup, landmarks in prediction.landmarks.items():
            blur = prediction.covariance[markup][..., [0, 2]].sum(-1).sqrt().numpy()
            x, y = landmarks[0].numpy().T
            hidden = np.stack([x < 0.5, x >= 0.5, y < 0.5, y >= 0.5])
            for row, flags in enumerate((hidden, ~hidden)):
                before = np.broadcast_to(blur[0], flags.shape)[flags].sum()
                sums[markup][row] += flags.sum(), before, blur[1:][flags].sum()
    return {m: (s[:, 1:] / np.maximum(s[:, :1], 1)).ravel().tolist() for m, s in sums.items()}


def uncertainty_rows(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Sequence[float | None]]:
    """Rows of the table: Spearman of the spreads, of their means per face, of the confidence (also with the offset
    removed), calibration error, risk at each coverage."""
    names = ("spearman", "spearman_faces", "spearman_confidence", "spearman_confidence_offset_removed", "ece")
    return {markup: [*(d.get(n) for n in names), *d["risk"]] for markup, d in values.items() if d}


UNCERTAINTY_HEADS = ("Spearman", "of faces", "of confidence", "offset removed", "ECE") + tuple(
    f"NME % of {c:.0%}" for c in COVERAGES
)
HIDDEN_HEADS = ("hidden, before", "after", "in sight, before", "after")
