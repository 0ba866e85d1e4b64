"""What a job reads: the image files of a folder, or the rows of a parquet file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from ..errors import InputError
from ..photo.images import ImageLike
from .needs import pyarrow

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2", ".avif")


class Source(Protocol):
    """Images in a fixed order."""

    names: list[str]  # one an image
    digest: str  # changes where the images change: their names, sizes, times

    def after(self, count: int) -> Iterator[ImageLike]:
        """Images without the first ``count``."""
        ...


def open_source(source: str, column: str | None) -> Source:
    """``column`` of a parquet file holds the images. Raises `InputError` where there is nothing to read."""
    return Folder(source) if Path(source).is_dir() else Table(source, column)


class Folder:
    """Image files below a folder, in the order of their names."""

    def __init__(self, source: str) -> None:
        root = Path(source)
        found = (Path(folder) / name for folder, _, names in os.walk(root) for name in names)
        self.paths = sorted(path for path in found if path.suffix.lower() in SUFFIXES)
        if not self.paths:
            raise InputError(f"{source}: holds no images ({', '.join(SUFFIXES)})")
        self.names = [printable(path.relative_to(root).as_posix()) for path in self.paths]
        self.digest = digest_of(f"{n} {stamp(p)}" for n, p in zip(self.names, self.paths, strict=True))

    def after(self, count: int) -> Iterator[ImageLike]:
        yield from self.paths[count:]


class Table:
    """Rows of a parquet file; an image is a path, bytes, or a struct with `bytes` and `path`."""

    def __init__(self, source: str, column: str | None) -> None:
        pa, pq = pyarrow()
        if not Path(source).is_file():
            raise InputError(f"{source}: no such file or folder")
        self.source = Path(source)
        try:
            self.file = pq.ParquetFile(source)
            names = self.file.schema_arrow.names
            wanted = [column] if column else ["image", "path", "bytes"]
            self.column = next((name for name in wanted if name in names), None)
            if self.column is None:
                raise InputError(f"{source}: has no column {' or '.join(wanted)}; it has {', '.join(names)} (--column)")
            self.names = [name or f"{self.source.name}#{i}" for i, name in enumerate(self._paths(pa))]
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            line = " ".join(str(error).split())
            raise InputError(f"{source}: is neither a folder nor a parquet file ({line})") from error
        # Paths count from the working folder.
        self.digest = digest_of([stamp(self.source), self.column, os.getcwd(), *self.names])

    def _paths(self, pa: Any) -> Iterator[str | None]:
        """The path of each row, or None where it has none. Bytes are not read for it."""
        kind, column = self.file.schema_arrow.field(self.column).type, self.column
        if pa.types.is_struct(kind):
            column = f"{self.column}.path" if kind.get_field_index("path") >= 0 else None
        if column is None or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            yield from [None] * self.file.metadata.num_rows
            return
        for batch in self.file.iter_batches(columns=[column]):
            for value in batch.column(0).to_pylist():
                path = value["path"] if isinstance(value, dict) else value
                yield printable(str(path)) if path else None

    def after(self, count: int) -> Iterator[ImageLike]:
        pa, _ = pyarrow()
        index = 0
        try:
            for batch in self.file.iter_batches(64, columns=[self.column]):
                index += len(batch)
                if index <= count:
                    continue
                for value in batch.column(0)[max(0, count - index + len(batch)) :].to_pylist():
                    yield image_of(value)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.source}: is damaged ({' '.join(str(error).split())})") from error


def image_of(value: Any) -> ImageLike:
    """A cell's path or bytes."""
    if isinstance(value, dict):
        data = value.get("bytes")
        return data if data is not None else value.get("path")
    return value


def printable(name: str) -> str:
    """A file's name as UTF-8 can hold it: bytes that are no text are written as \\xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def stamp(path: Path) -> str:
    """Size and time of change: another picture under the same name has another."""
    try:
        status = path.stat()
    except OSError:  # such as a link that leads nowhere
        return "-"
    return f"{status.st_size} {status.st_mtime_ns}"


def digest_of(lines: Any) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(str(line).encode() + b"\n")
    return digest.hexdigest()
