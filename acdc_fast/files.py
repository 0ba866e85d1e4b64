"""Files are written beside their place and renamed, so that no reader sees half of one."""

from __future__ import annotations

import errno
import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path in the same folder; it takes the place of ``path`` when the block ends without an error.

    The folder is made where it is missing. On an error the temporary file goes and ``path`` stays as it was. An
    `OSError` names ``path``, which the caller knows, and not the temporary file.
    """
    target = Path(path)
    make_folder(target.parent)
    # The suffix stays, because writers such as Pillow choose the format by it.
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        error.filename = str(target)
        raise
    os.close(handle)
    beside = Path(name)
    try:
        with naming(target, beside):
            yield beside
            mask = os.umask(0)
            os.umask(mask)
            beside.chmod(0o666 & ~mask)  # mkstemp makes private files
            put(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def sweep(*targets: Path) -> None:
    """Deletes what a process that was killed had begun to write beside these files. The caller holds their folder."""
    for target in targets:
        stem, suffix = glob.escape(target.stem), glob.escape(target.suffix)
        for left in target.parent.glob(f".{stem}-{'?' * 8}{suffix}"):  # as mkstemp names them
            left.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """With those above it; no error where it is there. `NotADirectoryError` names the file that stands in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        for place in (path, *path.parents):
            if place.exists() and not place.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "is a file, not a folder", str(place)) from None
        raise


def put(beside: Path, target: Path) -> None:
    """Gives a finished file its name. Its bytes are on the disk first: a power cut leaves the old file or the new."""
    with open(beside, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(beside, target)


@contextmanager
def naming(path: str | os.PathLike[str], *others: str | os.PathLike[str]) -> Iterator[None]:
    """An `OSError` of the block that names no file, or one of the ``others``, names ``path``."""
    try:
        yield
    except OSError as error:
        if error.filename is None or error.filename in [os.fspath(other) for other in others]:
            error.filename, error.filename2 = os.fspath(path), None
        raise
