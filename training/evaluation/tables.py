"""The paper's tables with our row added, and plain tables for the other databases.

The published figures are the paper's own. A figure that it does not give is left blank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .uncertainty import UNCERTAINTY_HEADS, uncertainty_rows

SUBSETS = ("test", "pose", "expression", "illumination", "make-up", "occlusion", "blur")
_HEADS = ("all", "pose", "expr.", "illum.", "make-up", "occl.", "blur")

WFLW_NME = {
    "AC": (4.6, 8.08, 4.64, 4.39, 4.50, 5.70, 5.38),
    "AC+Pose": (4.55, 7.86, 4.61, 4.34, 4.31, 5.66, 5.33),
    "AC-DC": (4.49, 7.76, 4.45, 4.35, 4.25, 5.57, 5.21),
}
WFLW_AUC = {"AC-DC": (57.5, 31.5, 56.6, 58.7, 58.3, 49.5, 51.1)}
WFLW_FR = {"AC-DC": (4.29, 17.3, 2.69, 2.45, 4.66, 9.2, 5.82)}
YAW_HEADS = ("[0,30]", "[30,60]", "[60,90]", "mean")
AFLW_NME = {"AC-DC": (2.29, 3.15, 4.76, 3.40)}
POSE_HEADS = ("yaw", "pitch", "roll", "mean")
AFLW_POSE: dict[str, Sequence[float | None]] = {
    "AC+Pose": (3.29, None, None, None),
    "AC-DC, stage 1": (3.48, 8.26, 6.87, 6.20),
    "AC-DC, stage 4": (2.92, 6.94, 5.99, 5.29),
}


def table(title: str, heads: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> str:
    """Right-aligned columns, two decimals; whole numbers (int) without; None is a dash."""
    cells = [[name, *map(_cell, values)] for name, values in rows.items()]
    lines = [["", *heads], *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads) + 1)]
    text = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    rule = "-" * len(text[0])
    return "\n".join([title, rule, text[0], rule, *text[1:], rule])


def _cell(value: float | None) -> str:
    return "–" if value is None else str(value) if isinstance(value, int) else f"{value:.2f}"


def paper_tables(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Tables I to IV, as far as their databases are there. Keys: the database, WFLW's subsets as ``wflw/pose`` etc."""
    found = []
    wflw = [reports.get(f"wflw/{subset}") for subset in SUBSETS]
    if wflw[0] is not None and "2d98" in wflw[0]["markups"]:

        def ours(name: str) -> list[float | None]:
            values = [None if r is None else r["markups"]["2d98"][name] for r in wflw]
            return [v[-1] if isinstance(v, list) else v for v in values]

        found.append(table("Table I: WFLW, NME %", _HEADS, {**WFLW_NME, "ours": ours("nme")}))
        found.append(table("Table II: WFLW, FR@0.1 %", _HEADS, {**WFLW_FR, "ours": ours("fr")}))
        found.append(table("Table II: WFLW, AUC@0.1 %", _HEADS, {**WFLW_AUC, "ours": ours("auc")}))
    aflw = reports.get("aflw2000")
    if aflw is not None and "by_yaw" in aflw["markups"].get("3d68", {}):
        ranges = aflw["markups"]["3d68"]["by_yaw"]
        rows = {**AFLW_NME, "ours": [ranges.get(h) for h in YAW_HEADS]}
        found.append(table("Table III: AFLW2000-3D, NME % by |yaw|", YAW_HEADS, rows))
    if aflw is not None and "pose" in aflw:
        stages = {f"ours, stage {i + 1}": row for i, row in enumerate(aflw["pose"]["mae"])}
        found.append(table("Table IV: AFLW2000-3D, pose MAE °", POSE_HEADS, {**AFLW_POSE, **stages}))
    return found


def database_tables(name: str, values: Mapping[str, Any]) -> list[str]:
    """All tables of one database."""
    found = []
    title = f"{name}: {values['faces']} faces" + (f", {values['missed']} missed" if values["missed"] else "")
    rows: dict[str, Sequence[float | None]] = {}
    for markup, m in values["markups"].items():
        rows[f"{markup} NME %"] = [*m["nme"], m["median"], m["auc"], m["fr"]]
        if "nme_offset_removed" in m:
            rows[f"{markup} NME %, offset removed"] = [*m["nme_offset_removed"], m["median_offset_removed"], None, None]
    if rows:
        stages = [f"stage {i + 1}" for i in range(len(next(iter(values["markups"].values()))["nme"]))]
        found.append(table(title, [*stages, "median", "AUC@0.1", "FR@0.1"], rows))
    if "auto" in values:
        auto = values["auto"]
        errors = {m: [v, auto["nme_offset_removed"].get(m)] for m, v in auto["nme"].items()}
        title = f"{name}: stages='auto' runs {auto['stages']:.2f} stages a face"
        found.append(table(title, ["NME %", "offset removed"], errors))
    uncertain = uncertainty_rows({markup: m["doubt"] for markup, m in values["markups"].items()})
    if uncertain:
        found.append(table(f"{name}: what the spread says of the error", UNCERTAINTY_HEADS, uncertain))
    if "pose" in values:
        pose = {f"stage {i + 1}": row for i, row in enumerate(values["pose"]["mae"])}
        found.append(table(f"{name}: pose MAE ° of {values['pose']['faces']} faces", POSE_HEADS, pose))
    if "flagged" in values:
        heads = ["NME %", "offset removed", "points"]
        found.append(table(f"{name}: 68 points as people flagged them", heads, values["flagged"]))
    if "in_sight" in values:
        sight = values["in_sight"]
        parts = [f"from {kind} ones: AUC {area:.3f}" for kind, area in sight.items() if kind != "ece"]
        found.append(f"{name}: faces.visible tells points in sight {', '.join(parts)}; ECE {sight['ece']:.3f}")
    if "classes" in values:
        found.append(_classes(name, values["classes"]))
    if "groups" in values:
        rows = {group: [m["error"], m["standard_error"], m["faces"]] for group, m in values["groups"].items()}
        heads = ["NME %, offset removed", "standard error", "faces"]
        found.append(table(f"{name}: five points by group", heads, rows))
    return found


def _classes(name: str, values: Mapping[str, Any]) -> str:
    heads = [f"class {c}" for c in values["faces"]]
    rows: dict[str, Sequence[float | None]] = {
        "faces": list(values["faces"].values()),
        "NME % by points' box": list(values["nme_by_box"].values()),
        "NME % by eyes, offset removed": list(values["nme_offset_removed"].values()),
    }
    if "yaw" in values:
        rows["mean yaw °"] = [values["yaw"].get(c) for c in values["faces"]]
    text = table(f"{name}: pose classes, 1 left profile … 3 frontal … 5 right profile", heads, rows)
    if "profile_to_frontal" in values:
        text += f"\nprofile / frontal, by box: {values['profile_to_frontal']:.2f}"
    if "profile_auc" in values:
        text += f"\n|yaw| tells profile from frontal: AUC {values['profile_auc']:.3f}"
    return text
