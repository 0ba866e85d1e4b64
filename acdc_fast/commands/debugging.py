"""Writes down how a result was made: `acdc-fast align --debug DIR`; and draws masks: `--show attention`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..files import written_beside
from ..photo.images import Picture


class LogRecorder(logging.Handler):
    """Keeps what the package logs, and the squares that its crops were cut by."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.squares = np.zeros((0, 4))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}")
        self.squares = np.concatenate([self.squares, getattr(record, "squares", self.squares[:0])])


@contextmanager
def recorded_log() -> Iterator[LogRecorder]:
    """What is logged in the block, whatever the level of the log was."""
    logger, log = logging.getLogger("acdc_fast"), LogRecorder()
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.DEBUG)
    try:
        yield log
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)


def stages_of(model: Any, picture: Picture, squares: np.ndarray) -> tuple[np.ndarray, Any]:
    """(N, 1, S, S) crops of these squares, and the prediction of all stages."""
    from ..photo.crops import crop_faces

    crops = crop_faces(picture.rgb, squares, model.resolution)
    return crops, model(crops, all_stages=True)


def attention(model: Any, picture: Picture, log: LogRecorder) -> Any:
    """The sheet of the masks of every stage, a row for each face, of the crops that `align` used."""
    from ..photo.show import attention_sheet

    crops, prediction = stages_of(model, picture, log.squares)
    return attention_sheet(crops, [stage.mask for stage in prediction.stages])


def write_debug(folder: Path, model: Any, picture: Picture, faces: Any, log: LogRecorder) -> None:
    """Into ``stages.json`` go box, square, matrix from crop units to pixels, and of every stage, before the refinement,
    points and mean spread (pixels) and pose; into ``result.json`` what `align` gave; into ``log.txt`` what was tried
    and why; ``crop-0.png`` and so on, and ``attention.png``, show the crops."""
    from PIL import Image

    from ..photo.coordinates import crop_to_image, crop_to_image_matrix
    from ..photo.show import attention_sheet
    from ..readout.confidence import spread_of

    crops, prediction = stages_of(model, picture, log.squares)
    matrices, entries = crop_to_image_matrix(log.squares), []
    for i, square in enumerate(log.squares):
        stages = []
        for stage in prediction.stages:
            points = {m: crop_to_image(p[i : i + 1], square[None])[0] for m, p in stage.landmarks.items()}
            spread = {m: float(spread_of(c[i]).mean() * square[2]) for m, c in stage.covariance.items()}
            pose = None if stage.pose is None else np.round(stage.pose[i], 3).tolist()
            rounded = {m: np.round(p, 2).tolist() for m, p in points.items()}
            stages.append({"landmarks": rounded, "mean_spread": spread, "pose": pose})
        box, matrix = faces.boxes[i].tolist(), matrices[i].tolist()
        entries.append({"box": box, "square": square.tolist(), "matrix": matrix, "stages": stages})
    about = {"weights": model.name, "options": model.options, "size": [picture.width, picture.height]}
    _text(folder / "stages.json", json.dumps(about | {"faces": entries}, indent=1))
    _text(folder / "result.json", json.dumps(faces.to_dict()))
    _text(folder / "log.txt", "".join(f"{line}\n" for line in log.lines))
    for i, crop in enumerate(crops[:, 0]):
        with written_beside(folder / f"crop-{i}.png") as beside:
            Image.fromarray(np.rint(crop * 255).astype(np.uint8)).save(beside)
    with written_beside(folder / "attention.png") as beside:
        attention_sheet(crops, [stage.mask for stage in prediction.stages]).save(beside)


def _text(path: Path, text: str) -> None:
    with written_beside(path) as beside:
        beside.write_text(text, encoding="utf-8")
