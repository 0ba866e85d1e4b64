"""Accuracy against time on one core: every number of stages of each weights file, and ``stages="auto"``.

    acdc-fast evaluate acdc-w32 --data-root data --databases mtfl-dev frames68 --detector --json > w32.json
    pytest bench/test_frontier.py --benchmark --data-root data --frontier w32.json

The JSON has the accuracy. This measures the time, in the type of ``evaluate --dtype``. runs/bench/frontier.md and
frontier.png show both. Where MediaPipe's package and LiteRT (``ai-edge-litert``) are installed, MediaPipe's landmark
network is timed in turns with ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from timing import Times, interleaved

from acdc_fast.model import Model
from acdc_fast.weights import bundled

FACES, ROUNDS = 16, 15
DATABASE, MARKUP = "mtfl-dev", "2d5"
#: Milliseconds for a face on one core, and offset-removed NME % on the same list. Measured earlier for this project,
#: with each peer's own landmark network. Not measured again here.
PEERS = {"dlib": (0.7, 5.1), "MediaPipe": (1.2, 4.9), "PFLD": (3.1, 4.9), "MobileFaceNet": (5.9, 4.7)}


def ask(request: pytest.FixtureRequest, option: str) -> Any:
    value = request.config.getoption(option)
    if not value:
        pytest.skip(f"the frontier needs {option}: see the head of bench/test_frontier.py")
    return value


def real_crops(root: Path, resolution: int) -> np.ndarray:
    from acdc_fast.training.evaluation.evaluate import open_all
    from acdc_fast.training.sampling.augment import crop_face

    database = open_all([DATABASE], root, skip_broken=False)[DATABASE]
    indices = np.linspace(0, len(database) - 1, FACES).round().astype(int)
    crops = np.stack([crop_face(database[int(i)], resolution).image for i in indices])
    return (crops / np.float32(255)).astype(np.float32)


def one_by_one(model: Model, crops: np.ndarray) -> None:
    for crop in crops:
        model._run(crop[None], mask=False)


def mediapipe_network() -> Callable[[], None] | None:
    """One call: FACES faces by MediaPipe's landmark network (192², 468 points), one thread of LiteRT. None: absent."""
    package = find_spec("mediapipe")
    if package is None or package.origin is None or find_spec("ai_edge_litert") is None:
        print("MediaPipe's network is not timed: its package or ai-edge-litert is not installed")
        return None
    from ai_edge_litert.interpreter import Interpreter

    file = Path(package.origin).parent / "modules" / "face_landmark" / "face_landmark.tflite"
    network = Interpreter(model_path=str(file), num_threads=1)
    network.allocate_tensors()
    entry = network.get_input_details()[0]
    crop = np.random.default_rng(0).random(entry["shape"], np.float32)

    def call() -> None:
        for _ in range(FACES):
            network.set_tensor(entry["index"], crop)
            network.invoke()

    return call


def test_frontier(request: pytest.FixtureRequest, out: Path) -> None:
    root = Path(ask(request, "--data-root"))
    evaluated = [json.loads(Path(name).read_text()) for name in ask(request, "--frontier")]
    calls, rows = {}, {}
    for report in evaluated:
        source = bundled().get(report["weights"], Path(report["weights"]))
        crops = real_crops(root, report["resolution"])
        values = report["databases"][DATABASE]
        dtype = report.get("dtype", "float32")
        name = f"{Path(source).stem}, {report['resolution']}²" + (f", {dtype}" if dtype != "float32" else "")
        make = partial(Model, source, backend="native", threads=1, dtype=dtype, resolution=report["resolution"])
        for k, (plain, fair) in enumerate(
            zip(values["markups"][MARKUP]["nme"], values["markups"][MARKUP]["nme_offset_removed"], strict=True), 1
        ):
            rows[f"{name}, stages={k}"] = (k, plain, fair)
            calls[f"{name}, stages={k}"] = partial(one_by_one, make(stages=k), crops)
        if "auto" in values:
            auto = values["auto"]
            key = f'{name}, stages="auto"'
            rows[key] = (auto["stages"], auto["nme"][MARKUP], auto["nme_offset_removed"][MARKUP])
            calls[key] = partial(one_by_one, make(stages="auto"), crops)
    if (peer := mediapipe_network()) is not None:
        calls["MediaPipe"] = peer
    times = interleaved(calls, ROUNDS)
    lines = [
        f"| | stages run | ms a face, one core, median | quartiles | {DATABASE} NME % | offset removed |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, (stages, plain, fair) in rows.items():
        low, high = (1e3 * v / FACES for v in times[name].quartiles)
        lines.append(
            f"| {name} | {stages:.2f} | {1e3 * times[name].median / FACES:.2f} | {low:.2f} to {high:.2f} "
            f"| {plain:.2f} | {fair:.2f} |"
        )
    if peer is not None:
        measured = times["MediaPipe"]
        low, high = (1e3 * v / FACES for v in measured.quartiles)
        took = f"{1e3 * measured.median / FACES:.2f} | {low:.2f} to {high:.2f}"
        lines.append(f"| MediaPipe's network alone | | {took} | | {PEERS['MediaPipe'][1]} |")
    text = "\n".join(lines) + "\n"
    (out / "frontier.md").write_text(text)
    plot(rows, times, out / "frontier.png")
    print("\n" + text)
    assert all(np.isfinite(t.median) and t.median > 0 for t in times.values())


def plot(rows: dict[str, tuple[float, float, float]], times: dict[str, Times], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    kinds = list(dict.fromkeys(name.rpartition(", stages=")[0] for name in rows))
    for kind in kinds:
        line = [n for n in rows if n.startswith(f"{kind}, stages=") and "auto" not in n]
        x, y = [1e3 * times[n].median / FACES for n in line], [rows[n][2] for n in line]
        (drawn,) = axis.plot(x, y, "o-", label=kind)
        for n in rows:
            if n == f'{kind}, stages="auto"':
                axis.plot(1e3 * times[n].median / FACES, rows[n][2], "*", color=drawn.get_color(), markersize=12)
    for peer, (milliseconds, error) in PEERS.items():
        milliseconds = 1e3 * times[peer].median / FACES if peer in times else milliseconds
        axis.plot(milliseconds, error, "s", color="#8c8c8c")
        axis.annotate(peer, (milliseconds, error), textcoords="offset points", xytext=(5, 4), fontsize=8)
    axis.set(xlabel='ms a face on one core (stars: stages="auto"; squares: peers)', xscale="log")
    axis.set(ylabel=f"{DATABASE}, NME %, offset removed")
    axis.legend(frameon=False)
    figure.savefig(path, dpi=120)
