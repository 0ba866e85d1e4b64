"""The page of gpu_page.py, from what its steps found: tables as those of docs/notes/gpu.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gpu_budget import Row, Step, one_line, read

NAMES = {"eager": "eager", "compiled": "torch.compile", "triton": "Triton kernels", "cuda": "CUDA kernels"}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column holds names, the others figures."""
    rule = "| --- |" + " ---: |" * (len(head) - 1)
    return ["| " + " | ".join(head) + " |", rule, *("| " + " | ".join(row) + " |" for row in rows), ""]


def spread(times: Sequence[float] | None, unit: float = 1e3) -> str:
    """Median, and both quartiles in brackets."""
    if times is None:
        return "–"
    low, middle, high = (f"{unit * t:.2f}" for t in times)
    return f"{middle} ({low} to {high})"


def micro(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1e6 * seconds:.1f}"


def machine(rows: Sequence[Row]) -> list[str]:
    facts = next((row["facts"] for row in rows if "facts" in row), {})
    built = next((f"built by nvcc in {row['built']:.0f} s" for row in rows if "built" in row), None)
    facts = facts | ({"CUDA kernels": built} if built else {})
    return table(["", "machine"], [[name, value] for name, value in facts.items()]) if facts else []


def correctness(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    row = rows[-1]
    said = [f"{row['passed']} tests passed, {row['failed']} failed, {row['skipped']} were skipped.", ""]
    return said + [f"- failed: `{one_line(name)}`" for name in row["failures"]] + [""] * bool(row["failures"])


def kernels(rows: Sequence[Row]) -> list[str]:
    out, listed = [], [row for row in rows if "kernel" in row]
    if rate := next((row["bandwidth"] for row in rows if "bandwidth" in row), None):
        out += [f"A copy of a large tensor moves {rate / 1e12:.3f} TB/s, read plus written. Shares are of it.", ""]
    head = ["kernel", "faces", "Triton, µs", "of the copy", "CUDA, µs", "of the copy", "eager, µs", "floor, µs"]
    body = []
    for row in listed:
        cells = [row["kernel"], str(row["faces"])]
        for kind in ("triton", "cuda"):
            share = row["share"].get(kind)
            cells += [micro(row["times"].get(kind)), "–" if share is None else f"{share:.0%}"]
        floor = "–" if row["floor"] is None else f"{micro(row['floor'])} ({row['bound']})"
        body.append([*cells, micro(row["eager"]), floor])
    return out + table(head, body) if body else out


def cascade(rows: Sequence[Row]) -> list[str]:
    """A run with torch.compile takes the place of one without it: its calls took turns, too."""
    best: dict[tuple[int, int], Row] = {}
    for row in rows:
        key = row["width"], row["faces"]
        if key not in best or "compiled" in row["times"]:
            best[key] = row
    body = []
    for (width, faces), row in sorted(best.items(), key=lambda item: (-item[0][0], item[0][1])):
        times = row["times"]
        ours = min((times[kind][1] for kind in ("triton", "cuda") if kind in times), default=None)
        cells = [spread(times.get(name)) for name in NAMES]
        for peer in ("eager", "compiled"):
            cells.append("–" if ours is None or peer not in times else f"{times[peer][1] / ours:.1f}")
        cells.append("–" if ours is None else f"{faces / ours:.0f}")
        body.append([f"width {width}, {faces} face{'s' * (faces != 1)}", *cells])
    head = ["", *(f"{name}, ms" for name in NAMES.values()), "× eager", "× torch.compile", "faces a second"]
    return table(head, body) if body else []


def update(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    times = rows[-1]["times"]
    eager = times["eager"][1]
    return table(["", "ms", "× eager"], [[name, spread(t), f"{eager / t[1]:.2f}"] for name, t in times.items()])


def candidates(rows: Sequence[Row]) -> list[str]:
    out = []
    for kernel in dict.fromkeys(row["kernel"] for row in rows):
        tried = [row for row in rows if row["kernel"] == kernel]
        best = min(tried, key=lambda row: row["seconds"])
        used = next((row for row in tried if row["used"]), None)
        for row in sorted(tried, key=lambda row: row["seconds"]):
            marks = ["best"] * (row is best) + ["in use"] * (row is used)
            against = "–" if used is None else f"{row['seconds'] / used['seconds']:.2f}"
            block = row["block"]
            cells = [f"{block['pixels']}×{block['maps']}", str(block["warps"]), str(block["stages"])]
            out.append([kernel, *cells, micro(row["seconds"]), against, ", ".join(marks)])
    head = ["kernel", "pixels × maps", "warps", "loads in flight", "µs", "of the one in use", ""]
    return table(head, out) if out else []


#: Heading, what it says of the measurement, the steps whose rows it shows, and how.
SECTIONS: list[tuple[str, str, tuple[str, ...], Callable[[Sequence[Row]], list[str]]]] = [
    ("Machine", "", ("build",), machine),
    ("Was it correct?", "The tests of the kernels and of the engine, on this GPU.", ("correctness",), correctness),
    (
        "The whole cascade",
        "Crops of 128², float16; crops and results stay on the device. All calls of a row took turns. Medians with "
        "quartiles. Before, the landmarks were compared with those in float32.",
        ("cascade", "compiled"), cascade,
    ),
    (
        "Each kernel",
        "Width 64, 128², float16, each compared with its reference before. Medians of replays of a CUDA graph, the L2 "
        "cache overwritten before each.",
        ("kernels",), kernels,
    ),
    (
        "An update of training",
        "Width 32, 64 crops of 96², bfloat16. The calls took turns. “Recorded” is a CUDA graph. Before, loss and "
        "gradient were compared with eager's.",
        ("update",), update,
    ),
    (
        "Block sizes",
        "The candidates of `kernels/configs.py`, Triton, 32 faces, float16. The best of a kernel belongs there.",
        ("candidates",), candidates,
    ),
]  # fmt: skip


def page(out: Path, steps: Sequence[Step], outcomes: Mapping[str, str], dry: bool, taken: float) -> str:
    """Markdown of all that was found so far in ``out``."""
    lines = ["# GPU measurements", ""]
    if dry:
        lines += ["**Dry run.** Every figure below is of tiny sizes on a CPU, and says nothing about a GPU.", ""]
    lines += [f"Written after {taken:.0f} s by `bench/gpu_page.py`.", ""]
    notes: list[str] = []
    for heading, told, names, show in SECTIONS:
        rows: list[Row] = []
        for name in names:
            found, said = read(out / f"{name}.json")
            rows, notes = rows + found, notes + said
        lines += [f"## {heading}{' (dry run)' * dry}", ""]
        if told and not dry:
            lines += [told, ""]
        lines += show(rows) or ["Nothing was measured; the reason stands at the end.", ""]
    lines += ["## What was not run", ""]
    lines += [f"- {note}" for note in dict.fromkeys(notes)] or ["- Nothing was left out within the steps."]
    lines += ["", "| step | |", "| --- | --- |"]
    lines += [f"| {step.name} | {outcomes.get(step.name, 'not begun')} |" for step in steps]
    return "\n".join(lines) + "\n"
