"""Reports of a run: history file, TensorBoard, sample pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from acdc_fast.errors import BackendUnavailable
from acdc_fast.files import written_beside

HISTORY = "history.jsonl"


class Meters:
    """Sums of named values since the last report. Checkpoints keep them, so a resumed run reports the same.

    Values that arrive together are kept as one vector, because on a GPU each addition is one kernel. ``sums``: names
    -> (N,). ``counts``: names -> number of additions.
    """

    def __init__(
        self, sums: Mapping[tuple[str, ...], Tensor] | None = None, counts: Mapping[tuple[str, ...], int] | None = None
    ) -> None:
        self.sums, self.counts = dict(sums or {}), dict(counts or {})

    def add(self, values: Mapping[str, Tensor]) -> None:
        names = tuple(values)
        new = torch.stack([value.detach() for value in values.values()])
        new = new.double() if new.device.type != "mps" else new
        self.sums[names] = self.sums[names] + new if names in self.sums else new
        self.counts[names] = self.counts.get(names, 0) + 1

    def means(self) -> tuple[list[str], Tensor]:
        """The names, sorted, and the mean of each."""
        names = [name for together in self.sums for name in together]
        values = torch.cat([sums / self.counts[together] for together, sums in self.sums.items()])
        order = sorted(range(len(names)), key=names.__getitem__)
        return [names[i] for i in order], values[order]

    def state(self) -> dict[str, Any]:
        return {"sums": {n: v.cpu() for n, v in self.sums.items()}, "counts": dict(self.counts)}


class Journal:
    """Writes one line of JSON for each report to ``history.jsonl``, and the same numbers to TensorBoard."""

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            reason = f"training logs to TensorBoard ({error}): pip install 'acdc-fast[train]'"
            raise BackendUnavailable(reason) from error
        self.path = folder / HISTORY
        kept = [line for line in read_history(folder) if line["step"] <= step]
        with written_beside(self.path) as beside:
            beside.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self.board = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """(H, W, 3) uint8, to TensorBoard and to ``pictures/NAME-STEP.png``."""
        self.board.add_image(name, image, step, dataformats="HWC")
        folder = self.path.parent / "pictures"
        folder.mkdir(exist_ok=True)
        with written_beside(folder / f"{name}-{step:06}.png") as beside:
            Image.fromarray(image).save(beside, "PNG")

    def close(self) -> None:
        self.board.close()


class Pace:
    """Says how a run goes on where no bar is shown: one line now and then, with the time that is left.

    The rate is that of the updates since the line before, so that a pause is soon forgotten.
    """

    def __init__(self, step: int, last: int, every: float = 20.0) -> None:
        self.last, self.every, self.before = last, every, (step, time.monotonic())

    def line(self, step: int, losses: Mapping[str, float]) -> str | None:
        """The line that is due after this update; None where it is too soon for one."""
        begin, since = self.before
        now = time.monotonic()
        if step == begin or (now - since < self.every and step < self.last):
            return None
        self.before = (step, now)
        each = (now - since) / (step - begin)
        told = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        left = f"{duration((self.last - step) * each)} left" if step < self.last else "done"
        return f"update {step} of {self.last}, {1 / max(each, 1e-9):.2g} a second, {left}; loss {told}"


def duration(seconds: float) -> str:
    """For people: 40 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The reports of a run so far. A last line that a kill cut short is left out."""
    lines: list[dict[str, Any]] = []
    try:
        text = (folder / HISTORY).read_text()
    except FileNotFoundError:
        return lines
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def contact_sheet(crops: np.ndarray, points: np.ndarray, mask: np.ndarray | None, zoom: int = 2) -> np.ndarray:
    """Crops (N, S, S) in [0, 1] with landmarks (N, L, 2) in crop units, masks (N, S, S) below → (H, W, 3) uint8."""
    import cv2

    rows = []
    for i, crop in enumerate(crops):
        side = zoom * crop.shape[0]
        face = cv2.resize((crop * 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
        face = cv2.cvtColor(face, cv2.COLOR_GRAY2RGB)
        for x, y in points[i] * side * 16 - 8:  # 4 bits of sub-pixel position
            cv2.circle(face, (int(x), int(y)), 16 * zoom // 2, (0, 255, 0), -1, cv2.LINE_AA, 4)
        column = [face]
        if mask is not None:
            column.append(cv2.cvtColor(cv2.resize((mask[i] * 255).astype(np.uint8), (side, side)), cv2.COLOR_GRAY2RGB))
        rows.append(np.vstack(column))
    return np.hstack(rows)
