"""`acdc-fast bench`: the backends of this machine side by side. The full suite with its peers is in bench/."""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import AcdcError, InputError
from .arguments import positive, weights_argument, weights_named

if TYPE_CHECKING:
    from ..model import Model
    from ..weights import Weights

#: One line of help, and an example.
HELP = "time the backends that this machine has, side by side"
EXAMPLE = "acdc-fast bench --batch 1"

#: The contract's tolerance between backends, crop units in float32.
TOLERANCE = 2e-5


def compare(
    weights: Weights, batch: int = 1, rounds: int = 20, resolution: int = 128, threads: int | None = None
) -> str:
    """A table: milliseconds a face of each backend, median and quartiles of interleaved calls, and the ratio to eager.

    Eager is plain torch here, without our ops. A backend that disagrees with it by more than 2e-5 crop units gets no
    time, but the error it makes.
    """
    with _plain_torch():
        return _compared(weights, batch, rounds, resolution, threads)


@contextlib.contextmanager
def _plain_torch() -> Iterator[None]:
    before = os.environ.get("ACDC_BACKEND")
    os.environ["ACDC_BACKEND"] = "reference"
    try:
        yield
    finally:
        os.environ.pop("ACDC_BACKEND")
        os.environ.update({} if before is None else {"ACDC_BACKEND": before})


def _compared(weights: Weights, batch: int, rounds: int, resolution: int, threads: int | None) -> str:
    import numpy as np

    from ..engines import ENGINES
    from ..model import Model

    crops = np.random.default_rng(0).random((batch, 1, resolution, resolution), np.float32)
    rows: dict[str, str] = {}
    models: dict[str, Model] = {}
    for name in ENGINES:
        try:
            models[name] = Model(weights, backend=name, threads=threads, resolution=resolution)
        except InputError:
            raise
        except AcdcError as error:
            rows[name] = str(error)
    # eager is the truth; without torch the first backend stands in
    truth = models.get("eager") or next(iter(models.values()), None)
    if truth is None:
        raise AcdcError("no backend can serve: " + "; ".join(rows.values()))
    expected = truth(crops).landmarks
    times: dict[str, list[float]] = {}
    for name, model in models.items():
        got = model(crops).landmarks
        worst = max(float(np.abs(got[m] - expected[m]).max()) for m in expected)
        if worst > TOLERANCE:
            rows[name] = f"disagrees by {worst:.1e} crop units: no time is given"
        else:
            times[name] = []
    for _ in range(rounds):
        for name in times:
            start = time.perf_counter()
            models[name](crops)
            times[name].append((time.perf_counter() - start) * 1e3 / batch)
    base = statistics.median(times["eager"]) if "eager" in times else None
    for name, values in times.items():
        low, middle, high = np.percentile(values, [25, 50, 75])
        ratio = f", {base / middle:.2f}× eager" if base else ""
        rows[name] = f"{middle:.2f} ms a face ({low:.2f} to {high:.2f}), {1e3 / middle:.0f} faces/s{ratio}"
    width = weights.config.width
    head = f"width {width}, batch {batch}, {resolution}², median of {rounds} interleaved calls (quartiles)"
    return "\n".join([head, *(f"  {name:<8}{rows[name]}" for name in ENGINES)])


def add_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--batch", type=positive, default=1, help="faces a call (%(default)s)")
    sub.add_argument("--rounds", type=positive, default=20, help="calls of each backend (%(default)s)")
    weights_argument(sub)
    sub.add_argument("--threads", type=positive, help="CPU threads (as many as the process may use)")
    sub.add_argument("--resolution", type=positive, help="side of the crops, a multiple of 8 (that of the weights)")


def run(options: argparse.Namespace) -> None:
    from ..metadata import resolution_of
    from ..options import check_resolution

    name, weights = weights_named(options)
    unit = weights.config.crop_unit
    side = check_resolution(options.resolution or resolution_of(weights.card, name, unit), unit=unit)
    print(compare(weights, options.batch, options.rounds, side, options.threads))
