"""Finished rows of a job that goes on: OUT.parts/, which any kill leaves in a state that the next run understands.

    job.json                         what the rows depend on
    lock                             held by the run that is at work
    0000000000-0000000256.parquet    rows of the first 256 images: range in the name, job and names of images inside
    new.*                            being written; whatever is found under this name is thrown away

A part is written under another name, brought to the disk and renamed, so it is whole or not there. Rows count as done
from the first image to the first gap. A part of another job, or of other images, is no part.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..errors import AcdcError, InputError
from ..files import make_folder, naming, put
from ..locks import lock
from .names import digest_of

Job = dict[str, Any]

NAME = re.compile(r"(\d{10})-(\d{10})\.parquet")
#: Key of a parquet file's metadata under which the package writes.
KEY = b"acdc_fast"


class Part(NamedTuple):
    """Rows of the images start … stop − 1, with their counts of faces and of broken images."""

    start: int
    stop: int
    path: Path
    faces: int
    broken: int


class Parts:
    """The folder, locked for one run. ``names``: of all images of the job."""

    def __init__(self, folder: Path, job: Job, names: list[str], overwrite: bool, parquet: Any) -> None:
        """Raises `InputError` where the folder holds another job's rows, unless these may be thrown away."""
        self.folder, self.job, self.names, self.parquet = folder, job, names, parquet
        self.digest = digest_of([json.dumps(job, sort_keys=True)])
        make_folder(folder)
        self.lock = _locked(folder / "lock")
        for path in folder.glob("new.*"):
            path.unlink()
        before = self._job_before()
        if before is not None and before != job:
            differing = ", ".join(key for key in job if before.get(key) != job[key])
            if not overwrite:
                self.lock.close()
                raise InputError(f"{folder}: unfinished work of another run ({differing or 'its layout'} differ); "
                                 "--overwrite throws it away, or choose another output")  # fmt: skip
            _empty(folder)
        if before != job:
            self.write("job.json", lambda file: file.write(json.dumps(job).encode()))
        self.done = self._done()

    @property
    def images(self) -> int:
        """How many are done."""
        return self.done[-1].stop if self.done else 0

    @property
    def faces(self) -> int:
        return sum(part.faces for part in self.done)

    @property
    def broken(self) -> int:
        return sum(part.broken for part in self.done)

    def _job_before(self) -> Job | None:
        """The job that the folder holds, {} where it cannot be read, None where the folder holds nothing."""
        try:
            found = json.loads((self.folder / "job.json").read_bytes())
        except FileNotFoundError:
            return {} if any(NAME.fullmatch(path.name) for path in self.folder.iterdir()) else None
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _done(self) -> list[Part]:
        """Parts from the first image on without a gap; the others are thrown away."""
        done: list[Part] = []
        for path in sorted(path for path in self.folder.iterdir() if NAME.fullmatch(path.name)):
            part = self._part(path)
            if part and part.start == (done[-1].stop if done else 0):
                done.append(part)
            else:
                path.unlink()
        return done

    def _part(self, path: Path) -> Part | None:
        """What lies there, or None where it is not of this job and these images."""
        start, stop = (int(number) for number in path.stem.split("-"))
        try:
            table = self.parquet.read_table(path, columns=["image"])
            summary = json.loads(table.schema.metadata[KEY])
            same = summary["job"] == self.digest and table.column(0).to_pylist() == self.names[start:stop]
            return Part(start, stop, path, summary["faces"], summary["broken"]) if same and stop > start else None
        except (OSError, ValueError, KeyError, TypeError):  # pyarrow's errors are of the first two kinds
            return None

    def add(self, rows: list[dict[str, Any]], schema: Any) -> None:
        """Rows of the images that come next."""
        start = self.images
        faces, broken = sum(len(row["scores"]) for row in rows), sum(row["error"] is not None for row in rows)
        schema = schema.with_metadata({KEY: json.dumps({"job": self.digest, "faces": faces, "broken": broken})})
        table = schema.empty_table().from_pylist(rows, schema)
        path = self.folder / f"{start:010d}-{start + len(rows):010d}.parquet"
        self.write(path.name, lambda file: self.parquet.write_table(table, file))
        self.done.append(Part(start, start + len(rows), path, faces, broken))

    def write(self, name: str, fill: Any, target: Path | None = None) -> None:
        """``fill(file)`` writes a file, which then takes this name in the folder, or the place of ``target``."""
        beside, target = self.folder / f"new.{name}", target or self.folder / name
        with naming(target, beside):
            with open(beside, "wb") as file:
                fill(file)
            put(beside, target)

    def remove(self) -> None:
        """After the job is done."""
        _empty(self.folder)
        (self.folder / "lock").unlink()
        with contextlib.suppress(OSError):  # somebody else's file lies there
            self.folder.rmdir()
        self.lock.close()


def discard(folder: Path) -> None:
    """Removes what a finished job left behind."""
    if folder.is_dir():
        lock = _locked(folder / "lock")
        _empty(folder)
        (folder / "lock").unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()
        lock.close()


def _empty(folder: Path) -> None:
    """Last parts first and the job at the end: what a kill leaves is a shorter beginning of the same job."""
    names = sorted((path.name for path in folder.iterdir()), reverse=True)
    for name in [n for n in names if n.startswith("new.") or NAME.fullmatch(n)] + ["job.json"]:
        (folder / name).unlink(missing_ok=True)


def _locked(path: Path) -> IO[bytes]:
    """The file, locked while it is open; the system lets go of it when a process dies."""
    file = open(path, "ab")  # noqa: SIM115  it stays open as long as the run
    try:
        lock(file.fileno(), path.parent)
    except AcdcError:
        file.close()
        raise
    return file
