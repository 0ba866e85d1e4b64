"""`acdc-fast evaluate --report report.html`: one page that holds everything, for a browser without a network.

The order is that of a reader's questions: what was measured, how well, what the words mean; then each database with
its curves, its calibration, its worst faces and all tables.
"""

from __future__ import annotations

import html
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acdc_fast.files import written_beside

from ..data import Database
from ..observations import Observations, chosen
from .page_figures import ENOUGH, Calibration, curves, image, picture, reliability, worst
from .tables import database_tables, paper_tables
from .uncertainty import draw_risk

STYLE = """*{box-sizing:border-box}
body{font:16px/1.55 system-ui,sans-serif;max-width:76rem;margin:0 auto;padding:1.5rem 1rem 4rem;color:#16202c}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .3rem;overflow-wrap:anywhere}
h2{margin:3rem 0 .8rem;padding-top:1rem;border-top:2px solid #dde3ea}h3{margin:1.6rem 0 .3rem}
p.lead{font-size:1.1rem;margin:.2rem 0 1rem;color:#445}
table.about{border-collapse:collapse;font-size:14px}.about td{padding:.15rem 1rem .15rem 0;vertical-align:top}
.about td:first-child{color:#566;min-width:7rem}.about td:last-child{overflow-wrap:anywhere}
.cards,.two,.faces{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr))}
.two{grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));align-items:start}
.faces{grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr))}
.card{border:1px solid #d5dde6;border-radius:.6rem;padding:.8rem 1rem;background:#f8fafc}
.card b{display:block;font-size:2.1rem;line-height:1.2;font-weight:650}.card small{display:block;color:#566}
figure{margin:0}figcaption{font-size:13.5px;color:#445;overflow-wrap:anywhere}
img{display:block;width:100%;height:auto;border-radius:.3rem}
pre{background:#f4f6f8;padding:.8rem;overflow-x:auto;font-size:13px;line-height:1.4;border-radius:.3rem}
dl{display:grid;gap:.1rem 1.5rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));font-size:14.5px}
dt{font-weight:600}dd{margin:0 0 .5rem}details{margin-top:1rem}summary{cursor:pointer;font-weight:600}"""
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
UNCALIBRATED = (
    f"Calibration is not drawn: it needs weights with a calibrated confidence, and {ENOUGH} labelled points at each of "
    "two confidences or more."
)


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
    parts = [f"<h1>Evaluation of {html.escape(about.get('weights', 'weights'))}</h1>", _measured(reports)]
    rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in about.items())
    parts += [f'<div class="cards">{_cards(reports)}</div>', f'<h3>How</h3><table class="about">{rows}</table>']
    words = "".join(
        f"<div><dt>{html.escape(word)}</dt><dd>{html.escape(meaning)}</dd></div>" for word, meaning in WORDS.items()
    )
    parts.append(f"<details open><summary>Words</summary><dl>{words}</dl></details>")
    if published := paper_tables(reports):
        parts += ["<h2>Beside the paper</h2>", *map(_text, published)]
    for name, seen in observed.items():
        parts += _database(name, seen, reports[name], databases[name], calibration, limit)
    risk = io.BytesIO()
    draw_risk(observed, risk)
    kept = "The error of the faces that are kept. Dashed: if the faces with the largest errors were left out first."
    parts += ["<h2>Risk and coverage</h2>", f'<div class="two">{image(risk.getvalue(), kept)}</div>']
    body = "\n".join(parts)
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    text = f'<!doctype html><html lang="en">{head}<title>Evaluation</title><style>{STYLE}</style>{body}</html>\n'
    with written_beside(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _measured(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """What was measured, in a sentence."""
    told = ", ".join(f"{name} ({values['faces']} faces)" for name, values in reports.items())
    return f'<p class="lead">Measured on {html.escape(told)}.</p>'


def _cards(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """The figure of each markup that a reader looks for first: the error of the last stage."""
    cards = []
    for name, values in reports.items():
        for markup, m in values["markups"].items():
            more = f"median {m['median']:.2f} %, failures {m['fr']:.2f} %, {m['faces']} faces"
            cards.append((f"{m['nme'][-1]:.2f} %", f"error (NME) of {markup}, {name}", more))
        if "pose" in values:
            mean = values["pose"]["mae"][-1][-1]
            cards.append((f"{mean:.1f}°", f"mean error of the head pose, {name}", f"{values['pose']['faces']} faces"))
        if values["missed"]:
            cards.append((str(values["missed"]), f"faces not found, {name}", f"of {values['faces']}; error 100 %"))
    return "".join(
        f'<div class="card"><b>{figure}</b>{html.escape(what)}<small>{html.escape(more)}</small></div>'
        for figure, what, more in cards
    )


def _database(
    name: str,
    seen: Observations,
    values: Mapping[str, Any],
    database: Database,
    calibration: Calibration,
    limit: int | None,
) -> list[str]:
    drawn = [picture(curves(seen), "How many faces have at most this error.")]
    if (figure := reliability(seen, calibration)) is not None:
        drawn.append(picture(figure, "Calibration: how often points of a confidence are right. Grey: exact."))
    else:
        drawn.append(f"<p>{UNCALIBRATED}</p>")
    parts = [f"<h2>{html.escape(name)}</h2>", f'<div class="two">{"".join(drawn)}</div>']
    for markup in seen.points[-1]:
        if shown := worst(seen, markup, database, chosen(database, limit)):
            legend = "labels green, points orange; the face's NME"
            parts.append(f"<h3>{html.escape(markup)}: the worst faces</h3><p>{legend}</p>")
            parts.append(f'<div class="faces">{"".join(shown)}</div>')
    return [*parts, "<h3>All tables</h3>", *(_text(table) for table in database_tables(name, values))]


def _text(table: str) -> str:
    return f"<pre>{html.escape(table)}</pre>"
