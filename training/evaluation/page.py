"""`acdc-fast evaluate --report report.html`: one page that holds everything, for a browser without a network."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from acdc_fast.files import written_beside
from acdc_fast.markups import MARKUPS
from acdc_fast.readout.confidence import confidence

from .. import metrics
from ..data import Database
from ..fits.calibration import NEAR
from ..loop.validation import normaliser
from ..observations import Observations, chosen
from .tables import database_tables, paper_tables
from .uncertainty import draw_risk

#: Faces shown of each markup, the worst first, and the share of the picture round a face's points that is shown.
WORST, ROUND = 8, 0.35
BINS = 10
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#16202c}
pre{background:#f4f6f8;padding:.8rem;overflow-x:auto;font-size:12.5px;line-height:1.35}img{max-width:100%}
figure{display:inline-block;margin:.4rem;vertical-align:top;font-size:13px}
dt{font-weight:600}dd{margin:0 0 .5rem 1.2rem}
h2{border-top:1px solid #ccd;padding-top:1rem}
.faces figure{width:15rem}figcaption{color:#445}"""
#: What the reader of a page may not know, in the order of the page.
WORDS = {
    "NME %": "mean distance of a point from its label. 100 % is the distance of the outer eye corners, of the eyes "
    "where five points are labelled, and for 3d68 and markups without eyes √(width · height) of the points' box",
    "AUC@0.1, FR@0.1": "area under the curve of errors up to 10 %, and share of faces with a larger error, both in %",
    "offset removed": "after each point was moved by its mean shift over the faces: people may label a point always a "
    "little to one side",
    "Spearman": "how well the spread of a point, the mean spread of a face or the confidence of a point puts the "
    "errors in order; 1 is perfect",
    "ECE": "mean difference between the confidence and the share of points that are right; right is a point within 5 % "
    "of the box's side",
    "NME % of 80 %": "error of the 80 % of the faces with the least spread",
}
Calibration = Mapping[str, Sequence[float]]


def write_page(
    path: Path,
    about: Mapping[str, str],
    reports: Mapping[str, Mapping[str, Any]],
    observed: Mapping[str, Observations],
    databases: Mapping[str, Database],
    calibration: Calibration,
    limit: int | None,
) -> None:
    """``about``: facts for the head of the page; ``limit``: faces of each database, as the observations were made."""
    parts = [f"<h1>Evaluation of {html.escape(about.get('weights', 'weights'))}</h1>"]
    rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in about.items())
    parts.append(f"<table>{rows}</table>")
    if published := paper_tables(reports):
        parts += ["<h2>Beside the paper</h2>", *map(_text, published)]
    risk = io.BytesIO()
    draw_risk(observed, risk)
    for name, seen in observed.items():
        parts.append(f"<h2>{html.escape(name)}</h2>")
        parts += [_text(table) for table in database_tables(name, reports[name])]
        parts.append(_picture(_curves(seen), "How many faces have at most this error."))
        if (figure := _reliability(seen, calibration)) is not None:
            parts.append(_picture(figure, "Calibration: how often points of a confidence are right. Grey: exact."))
        for markup in seen.points[-1]:
            if shown := _worst(seen, markup, databases[name], chosen(databases[name], limit)):
                legend = "labels green, points orange; the face's NME"
                parts.append(f"<h3>{html.escape(markup)}: the worst faces</h3><p>{legend}</p>")
                parts.append(f'<div class="faces">{"".join(shown)}</div>')
    kept = "The error of the faces that are kept. Dashed: if the faces with the largest errors were left out first."
    parts += ["<h2>Risk and coverage</h2>", _image(risk.getvalue(), kept)]
    words = "".join(f"<dt>{html.escape(word)}</dt><dd>{html.escape(meaning)}</dd>" for word, meaning in WORDS.items())
    parts += ["<h2>Words</h2>", f"<dl>{words}</dl>"]
    body = "\n".join(parts)
    text = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Evaluation</title><style>{STYLE}</style>{body}'
    with written_beside(path) as beside:
        beside.write_text(text + "</html>\n", encoding="utf-8")


def _text(table: str) -> str:
    return f"<pre>{html.escape(table)}</pre>"


def _image(png: bytes, caption: str) -> str:
    data = base64.b64encode(png).decode()
    text = f"<figcaption>{html.escape(caption)}</figcaption>"
    return f'<figure><img alt="" src="data:image/png;base64,{data}">{text}</figure>'


def _picture(figure: Figure, caption: str, dpi: int = 110) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi)
    return _image(data.getvalue(), caption)


def _errors(seen: Observations, markup: str) -> tuple[np.ndarray, np.ndarray]:
    """(N',) errors in % and (N',) indices of the faces with labels of this markup."""
    target, known = seen.labelled(markup)
    if not len(known):
        return np.zeros(0), known
    return 100 * metrics.nme(seen.points[-1][markup][known], target, normaliser(markup, target)), known


def _curves(seen: Observations) -> Figure:
    """Cumulative error of each labelled markup."""
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axis = figure.subplots()
    for markup in seen.points[-1]:
        errors, known = _errors(seen, markup)
        if len(known):
            axis.plot(np.sort(errors), 100 * np.arange(1, len(errors) + 1) / len(errors), label=markup)
    axis.set(xlim=(0, 100 * metrics.THRESHOLD), ylim=(0, 100), xlabel="error, %", ylabel="faces, %")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return figure


def _reliability(seen: Observations, calibration: Calibration) -> Figure | None:
    """Share of points within `NEAR` of their label over their confidence; None without calibrated labels."""
    figure = Figure(figsize=(3.8, 3.4), layout="constrained")
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
        full = [k for k in range(BINS) if (of == k).sum() >= 10]
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


def _worst(seen: Observations, markup: str, database: Database, indices: Sequence[int]) -> list[str]:
    """The faces with the largest errors, those not found first."""
    errors, known = _errors(seen, markup)
    shown = []
    for place in np.argsort(-errors, kind="stable")[:WORST]:
        n = int(known[place])
        sample, label = database[indices[n]], seen.annotations[n].landmarks[markup]
        figure = Figure(figsize=(2.4, 2.4))
        axis = figure.add_axes((0, 0, 1, 1))
        axis.imshow(sample.image, cmap="gray", vmin=0, vmax=255)
        found = seen.points[-1][markup][n]
        for points, colour in ((label, "#35d07f"), (found, "#ff7030")):
            for line in MARKUPS[markup].contours:
                axis.plot(*points[list(line)].T, color=colour, linewidth=0.7)
            axis.scatter(points[:, 0], points[:, 1], s=5, color=colour)
        low, high = label.min(0), label.max(0)
        edge = ROUND * float((high - low).max())
        axis.set(xlim=(low[0] - edge, high[0] + edge), ylim=(high[1] + edge, low[1] - edge))
        axis.axis("off")
        result = "not found" if seen.missed[n] else f"{errors[place]:.1f} %"
        shown.append(_picture(figure, f"{seen.annotations[n].name}: {result}", 90))
    return shown
