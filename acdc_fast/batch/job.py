"""A folder or a parquet file of images in, a parquet file of faces out. Needs pyarrow (extra [parquet]).

One row an image. Finished rows go to numbered parts in OUT.parts/, each written beside and renamed; a run that was cut
off takes up where the parts end, and the last step joins them into OUT.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import AcdcError, BackendUnavailable, InputError
from ..files import written_beside
from ..markups import MARKUPS
from ..model import Model
from ..photo.images import ImageLike, load_picture
from ..types import Faces
from ..weights import Weights

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2", ".avif")
#: Images in a part: what a kill costs at most.
PART = 256


@dataclass
class Tally:
    """What a run did: rows in the end, of them already there at the start, broken images, faces of this run."""

    rows: int = 0
    resumed: int = 0
    broken: int = 0
    faces: int = 0


def run_batch(
    model: Model, source: str, out: str, column: str | None = None, part: int = PART,
    note: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
) -> Tally:  # fmt: skip
    """``source``: a folder, searched through and sorted by name, or a parquet file whose ``column`` holds paths or
    image bytes. An image that cannot be read gives a row with its error, and a note."""
    pa, pq = _pyarrow()
    target = Path(out)
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise InputError(f"{out}: would overwrite the file that is being read")
    items = _Folder(source) if Path(source).is_dir() else _Parquet(source, column)
    parts = target.with_name(target.name + ".parts")
    done = _open_parts(parts, _job(model, source, column), out, pq)
    tally = Tally(resumed=sum(done))
    schema = _schema(pa, model)
    rows: list[dict[str, Any]] = []
    number = len(done)

    def flush() -> None:
        nonlocal number, rows
        if rows:
            with written_beside(parts / f"{number:06d}.parquet") as beside:
                pq.write_table(pa.Table.from_pylist(rows, schema), beside)
            number, rows = number + 1, []

    try:
        for name, image in items.after(tally.resumed):
            row = _row(model, name, image, note)
            tally.broken += row["error"] is not None
            tally.faces += len(row["scores"])
            rows.append(row)
            if len(rows) >= part:
                flush()
    finally:
        flush()  # an interrupt keeps what is done
    with written_beside(target) as beside, pq.ParquetWriter(beside, schema) as writer:
        for path in sorted(parts.glob("*.parquet")):
            table = pq.read_table(path)
            tally.rows += table.num_rows
            writer.write_table(table)
    shutil.rmtree(parts)
    return tally


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BackendUnavailable(f"batch needs pyarrow ({error}): pip install 'acdc-fast[parquet]'") from error
    return pyarrow, pyarrow.parquet


class _Folder:
    """Image files below a folder, in the order of their names."""

    def __init__(self, source: str) -> None:
        self.root = Path(source)
        found = (Path(folder) / name for folder, _, names in os.walk(self.root) for name in names)
        self.paths = sorted(path for path in found if path.suffix.lower() in SUFFIXES)
        if not self.paths:
            raise InputError(f"{source}: holds no images ({', '.join(SUFFIXES)})")

    def after(self, count: int) -> Iterator[tuple[str, ImageLike]]:
        for path in self.paths[count:]:
            yield path.relative_to(self.root).as_posix(), path


class _Parquet:
    """Rows of a parquet file; an image is a path, bytes, or a struct with `bytes` and `path`."""

    def __init__(self, source: str, column: str | None) -> None:
        pa, pq = _pyarrow()
        if not Path(source).is_file():
            raise InputError(f"{source}: no such file or folder")
        try:
            self.file = pq.ParquetFile(source)
        except (pa.ArrowException, OSError) as error:
            line = " ".join(str(error).split())
            raise InputError(f"{source}: is neither a folder nor a parquet file ({line})") from error
        names = self.file.schema_arrow.names
        wanted = [column] if column else ["image", "path", "bytes"]
        self.column = next((name for name in wanted if name in names), None)
        if self.column is None:
            raise InputError(f"{source}: has no column {' or '.join(wanted)}; it has {', '.join(names)} (--column)")
        self.source = source

    def after(self, count: int) -> Iterator[tuple[str, ImageLike]]:
        index = -1
        for batch in self.file.iter_batches(64, columns=[self.column]):
            for value in batch.column(0).to_pylist():
                index += 1
                if index >= count:
                    yield self._named(value, index)

    def _named(self, value: Any, index: int) -> tuple[str, ImageLike]:
        path, data = value, None
        if isinstance(value, dict):
            path, data = value.get("path"), value.get("bytes")
        elif isinstance(value, bytes):
            path, data = None, value
        name = str(path) if path else f"{self.source}#{index}"
        return name, data if data is not None else path


def _row(model: Model, name: str, image: ImageLike, note: Callable[[str], None]) -> dict[str, Any]:
    try:
        picture = load_picture(image, name if isinstance(image, bytes) else None)
        return {"image": name, "width": picture.width, "height": picture.height, "error": None,
                **_columns(model.align(picture))}  # fmt: skip
    except InputError as error:
        note(str(error))
        empty: dict[str, Any] = {key: [] for key in _columns(_nothing(model))}
        return {"image": name, "width": None, "height": None, "error": str(error), **empty}


def _columns(faces: Faces) -> dict[str, Any]:
    row: dict[str, Any] = {"boxes": faces.boxes.tolist(), "scores": faces.scores.tolist()}
    for angle in ("yaw", "pitch", "roll"):
        row[angle] = [] if faces.pose is None else getattr(faces.pose, angle).tolist()
    for markup, points in faces.landmarks.items():
        row[f"landmarks_{markup}"] = points.reshape(len(faces), points.shape[1] * 2).tolist()
        row[f"spread_{markup}"] = faces.spread[markup].tolist()
        row[f"confidence_{markup}"] = faces.confidence[markup].tolist()
    return row


def _nothing(model: Model) -> Faces:
    none = {m: np.zeros((0, MARKUPS[m].points, 2)) for m in model.markups}
    flat = {m: np.zeros((0, MARKUPS[m].points)) for m in model.markups}
    return Faces(np.zeros((0, 4)), np.zeros(0), none, flat, flat, None)


def _schema(pa: Any, model: Model) -> Any:
    def each(count: int) -> Any:
        return pa.list_(pa.list_(pa.float32(), count))

    fields = [("image", pa.string()), ("width", pa.int32()), ("height", pa.int32()), ("error", pa.string())]
    fields += [("boxes", each(4)), *((name, pa.list_(pa.float32())) for name in ("scores", "yaw", "pitch", "roll"))]
    for markup in model.markups:
        count = MARKUPS[markup].points
        fields += [(f"landmarks_{markup}", each(2 * count)), (f"spread_{markup}", each(count))]
        fields += [(f"confidence_{markup}", each(count))]
    return pa.schema(fields)


def _job(model: Model, source: str, column: str | None) -> dict[str, Any]:
    """What must be the same for a run to be taken up again."""
    return {
        "version": __version__, "source": str(Path(source).resolve()), "column": column,
        "weights": _fingerprint(model.weights), "stages": model.stages, "enough": model.enough,
        "resolution": model.resolution,
    }  # fmt: skip


def _fingerprint(weights: Weights) -> str:
    digest = hashlib.sha256(weights.config.to_json().encode())
    digest.update(json.dumps([weights.exposed, sorted(weights.calibration.items())]).encode())
    for name in sorted(weights.arrays):
        digest.update(weights.arrays[name].tobytes())
    return digest.hexdigest()


def _open_parts(parts: Path, job: dict[str, Any], out: str, pq: Any) -> list[int]:
    """Rows of each part that is already there; `AcdcError` where they come from another job."""
    if not parts.exists():
        with written_beside(parts / "job.json") as beside:
            beside.write_text(json.dumps(job))
        return []
    try:
        before = json.loads((parts / "job.json").read_text())
    except (OSError, ValueError):
        before = {}
    differing = [key for key in job if before.get(key) != job[key]]
    if differing:
        raise AcdcError(f"{parts}: unfinished work of another run ({', '.join(differing)} differ); remove it or choose "
                        f"another output than {out}")  # fmt: skip
    return [pq.ParquetFile(path).metadata.num_rows for path in sorted(parts.glob("*.parquet"))]
