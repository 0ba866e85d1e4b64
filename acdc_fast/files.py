"""Files are written beside their place and renamed, so that no reader sees half of one."""

from __future__ import annotations

import errno
import glob
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


def check_place(path: str | os.PathLike[str]) -> None:
    """Raises `InputError` where a file cannot go: at a folder, and at a device or a pipe, whose place it would take."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InputError(f"{path}: is a link that leads back to itself; choose another output") from None
        return  # nothing is there, or the writer says why it cannot write
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: is a folder; the output is a file: name one")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: is a device or a pipe; the output takes the place of files alone: name one")


@contextmanager
def written_beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path in the same folder; it takes the place of ``path`` when the block ends without an error.

    The folder is made where it is missing. `check_place` says what ``path`` must not be. On an error the temporary
    file goes and ``path`` stays as it was. An `OSError` names ``path``, which the caller knows, and not the temporary
    file.
    """
    target = Path(path)
    check_place(target)
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
            try:
                error.filename, error.filename2 = os.fspath(path), None
            except AttributeError:  # of a library whose errors keep their names
                raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
