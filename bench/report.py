"""The measurements of bench/test_cpu.py, as Markdown tables and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

OURS, OURS_AVX2, FORCED = "ours (float32)", "ours, forced to AVX2", "forced to AVX2"


def tables(record: dict[str, Any]) -> str:
    machine = record["machine"]
    peak = {int(t): v / 1e9 for t, v in machine["peak"].items()}
    lines = [
        f"Machine: {machine['cpu']}, {machine['threads']} CPUs, {machine['isa']}. Measured ceilings: "
        + ", ".join(f"{v:.0f} GFLOP/s of multiply-adds on {t} thread{'s' * (t > 1)}" for t, v in sorted(peak.items()))
        + f", {machine['bandwidth'] / 1e9:.1f} GB/s read from memory.",
        "",
    ]
    for key, rows in sorted(record["cases"].items(), key=lambda item: [int(x) for x in item[0].split()]):
        width, batch, threads = key.split()
        lines += [
            f"### Width {width}, batch {batch}, {threads} thread{'s' * (threads != '1')}",
            "",
            "| | ms a face, median | quartiles | ours takes | error, crop units |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        n = int(batch)
        for name, row in rows.items():
            other = name != OURS_AVX2 and name.endswith(FORCED)  # a peer forced to AVX2 is compared with ours so forced
            ours = rows.get(OURS_AVX2 if other else OURS, {}).get("median")
            error = f"{row['error']:.1e}" if "error" in row else ""
            if "median" in row:
                low, middle, high = (row[k] / n * 1e3 for k in ("low", "median", "high"))
                ratio = "" if name == OURS or ours is None else f"{ours / row['median']:.2f}×"
                lines.append(f"| {name} | {middle:.2f} | {low:.2f} to {high:.2f} | {ratio} | {error} |")
            else:
                lines.append(f"| {name} | {row['note']} | | | {error} |")
        lines.append("")
    threads = machine["threads"]
    for key, measured in record["layers"].items():
        (width, isa), layers, at_best = key.split(), measured["steps"], measured["peak"]
        total = sum(layer["seconds"] for layer in layers.values())
        products = sum(layer["transformed"] for layer in layers.values())
        bound = products / at_best
        lines += [
            f"### Steps at width {width}, {isa}, batch 1, {threads} threads",
            "",
            f"{total * 1e3:.2f} ms in all; {products / 1e9:.2f} GFLOP of products after Winograd take "
            f"{bound * 1e3:.2f} ms at the measured peak of {at_best / 1e9:.0f} GFLOP/s: "
            f"{bound / total:.0%} of the bound.",
            "",
            "| step, all stages | ms | share | GFLOP direct | GFLOP after Winograd | share of peak | "
            "transforms in, product, transforms out, ms × threads |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for name, layer in layers.items():
            of_peak = layer["transformed"] / layer["seconds"] / at_best
            parts = ", ".join(f"{layer[p] * 1e3:.2f}" for p in ("input", "product", "output") if p in layer)
            lines.append(
                f"| {name} | {layer['seconds'] * 1e3:.2f} | {layer['seconds'] / total:.0%} | "
                f"{layer['direct'] / 1e9:.2f} | {layer['transformed'] / 1e9:.2f} | {of_peak:.0%} | {parts} |"
            )
        lines.append("")
    return "\n".join(lines)


def plot(record: dict[str, Any], path: Path) -> None:
    """Milliseconds for one face, of all contestants, at batch 1 with all threads; one panel for each width."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    threads = record["machine"]["threads"]
    cases = {int(k.split()[0]): v for k, v in record["cases"].items() if k.split()[1:] == ["1", str(threads)]}
    if not cases:
        return
    figure, axes = plt.subplots(1, len(cases), figsize=(4.2 * len(cases), 3.2), squeeze=False, layout="constrained")
    for axis, (width, rows) in zip(axes[0], sorted(cases.items()), strict=True):
        timed = sorted(((r["median"] * 1e3, n, r) for n, r in rows.items() if "median" in r), reverse=True)
        values = [v for v, _, _ in timed]
        low, high = ([abs(r[k] - r["median"]) * 1e3 for *_, r in timed] for k in ("low", "high"))
        colours = ["#c44e52" if n.startswith("ours") else "#8c8c8c" for _, n, _ in timed]
        axis.barh([n for _, n, _ in timed], values, xerr=[low, high], color=colours, error_kw={"lw": 1})
        axis.set_title(f"width {width}")
        axis.set_xlabel(f"ms a face, batch 1, {threads} threads")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
