"""The drawings of the page that `page` writes."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from acdc_fast.markups import MARKUPS
from acdc_fast.readout.confidence import confidence

from .. import metrics
from ..data import Database
from ..fits.calibration import NEAR
from ..loop.validation import normaliser
from ..observations import Observations

#: Faces shown of each markup, the worst first, and the share of the picture round a face's points that is shown.
WORST, ROUND = 8, 0.35
#: Side of a face's picture on the page, pixels.
FACE = 480
#: Confidences are drawn in this many classes; one with fewer points than the second says nothing.
BINS, ENOUGH = 10, 10
Calibration = Mapping[str, Sequence[float]]


def image(png: bytes, caption: str) -> str:
    """An ``<figure>`` that holds its picture."""
    data, text = base64.b64encode(png).decode(), html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def picture(figure: Figure, caption: str, dpi: int = 130) -> str:
    """As `image`, of a drawing."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi)
    return image(data.getvalue(), caption)


def errors_of(seen: Observations, markup: str) -> tuple[np.ndarray, np.ndarray]:
    """(N',) errors in % and (N',) indices of the faces with labels of this markup."""
    target, known = seen.labelled(markup)
    if not len(known):
        return np.zeros(0), known
    return 100 * metrics.nme(seen.points[-1][markup][known], target, normaliser(markup, target)), known


def curves(seen: Observations) -> Figure:
    """Cumulative error of each labelled markup."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axis = figure.subplots()
    for markup in seen.points[-1]:
        errors, known = errors_of(seen, markup)
        if len(known):
            axis.plot(np.sort(errors), 100 * np.arange(1, len(errors) + 1) / len(errors), label=markup)
    axis.set(xlim=(0, 100 * metrics.THRESHOLD), ylim=(0, 100), xlabel="error, %", ylabel="faces, %")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return figure


def reliability(seen: Observations, calibration: Calibration) -> Figure | None:
    """Share of points within `NEAR` of their label over their confidence; None where no markup has a line to draw: two
    classes with `ENOUGH` points."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axis = figure.subplots()
    drawn = False
    for markup in seen.points[-1]:
        target, known = seen.labelled(markup)
        found = ~seen.missed[known] if len(known) else np.zeros(0, bool)
        if markup not in calibration or not found.any():
            continue
        target, known = target[found], known[found]
        sure = confidence(seen.spread[markup][known], seen.mean_spreads[-1][known], calibration[markup])
        gap = np.linalg.norm(seen.points[-1][markup][known] - target, axis=2) / seen.side[known, None]
        of = np.minimum((sure * BINS).astype(int), BINS - 1)
        full = [k for k in range(BINS) if (of == k).sum() >= ENOUGH]
        if len(full) < 2:
            continue
        axis.plot(
            [sure[of == k].mean() for k in full], [(gap[of == k] < NEAR).mean() for k in full], "o-", label=markup
        )
        drawn = True
    if not drawn:
        return None
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.7)
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share that is right")
    axis.legend(frameon=False)
    return figure


def worst(seen: Observations, markup: str, database: Database, indices: Sequence[int]) -> list[str]:
    """The faces with the largest errors, those not found first."""
    errors, known = errors_of(seen, markup)
    shown = []
    for place in np.argsort(-errors, kind="stable")[:WORST]:
        n = int(known[place])
        sample, label = database[indices[n]], seen.annotations[n].landmarks[markup]
        figure = Figure(figsize=(4, 4))
        axis = figure.add_axes((0, 0, 1, 1))
        axis.imshow(sample.image, cmap="gray", vmin=0, vmax=255)
        found = seen.points[-1][markup][n]
        for points, colour in ((label, "#35d07f"), (found, "#ff7030")):
            for line in MARKUPS[markup].contours:
                axis.plot(*points[list(line)].T, color=colour, linewidth=1.2)
            axis.scatter(points[:, 0], points[:, 1], s=9, color=colour)
        low, high = label.min(0), label.max(0)
        edge = ROUND * float((high - low).max())
        axis.set(xlim=(low[0] - edge, high[0] + edge), ylim=(high[1] + edge, low[1] - edge))
        axis.axis("off")
        result = "not found" if seen.missed[n] else f"{errors[place]:.1f} %"
        shown.append(picture(figure, f"{seen.annotations[n].name}: {result}", FACE // 4))
    return shown
