"""What a job reads: image files, folders and tars of them, the rows of a parquet file, or several of these."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..errors import InputError
from ..photo.images import ImageLike
from .names import SUFFIXES, digest_of, printable, stamp
from .needs import pyarrow
from .tars import ENDINGS, Tar


class Source(Protocol):
    """Images in a fixed order."""

    names: list[str]  # one an image
    digest: str  # changes where the images change: their names, sizes, times

    def after(self, count: int) -> Iterator[ImageLike]:
        """Images without the first ``count``."""
        ...


def open_source(sources: Sequence[str], column: str | None) -> Source:
    """``column`` of a parquet file holds the images. Raises `InputError` where there is nothing to read."""
    own = [Path(os.path.abspath(source)).name for source in sources]
    labels = [name if own.count(name) == 1 else source for name, source in zip(own, sources, strict=True)]
    places = [os.path.realpath(source) for source in sources]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise InputError(f"{sources[i]}: is named twice")
    alone = len(sources) == 1
    found = [_open(s, label, "" if alone else f"{label}/", column) for s, label in zip(sources, labels, strict=True)]
    if column is not None and not any(isinstance(one, Table) for one in found):
        raise InputError(f"--column {column} is for parquet files, and there is none among the inputs")
    return found[0] if alone else Several(found)


def _open(source: str, label: str, prefix: str, column: str | None) -> Source:
    path = Path(source)
    if path.is_dir():
        return Folder(source, prefix)
    if not path.is_file():
        raise InputError(f"{source}: {'is not a regular file' if path.exists() else 'no such file or folder'}")
    if path.name.lower().endswith(ENDINGS):
        return Tar(source, printable(label))
    return File(path, printable(label)) if path.suffix.lower() in SUFFIXES else Table(source, column)


class Several:
    """One source after the other."""

    def __init__(self, sources: list[Source]) -> None:
        self.sources = sources
        self.names = [name for source in sources for name in source.names]
        self.digest = digest_of(source.digest for source in sources)

    def after(self, count: int) -> Iterator[ImageLike]:
        for source in self.sources:
            if count < len(source.names):
                yield from source.after(count)
            count = max(0, count - len(source.names))


class File:
    """One image file."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.names = path, [name]
        self.digest = digest_of([f"{name} {stamp(path)}"])

    def after(self, count: int) -> Iterator[ImageLike]:
        yield from [self.path][count:]


class Folder:
    """Image files below a folder, in the order of their names. ``prefix`` stands before these."""

    def __init__(self, source: str, prefix: str = "") -> None:
        root = Path(source)
        found = (Path(folder) / name for folder, _, names in os.walk(root) for name in names)
        self.paths = sorted(path for path in found if path.suffix.lower() in SUFFIXES)
        if not self.paths:
            raise InputError(f"{source}: holds no images ({', '.join(SUFFIXES)})")
        self.names = [printable(prefix + path.relative_to(root).as_posix()) for path in self.paths]
        self.digest = digest_of(f"{n} {stamp(p)}" for n, p in zip(self.names, self.paths, strict=True))

    def after(self, count: int) -> Iterator[ImageLike]:
        yield from self.paths[count:]


class Table:
    """Rows of a parquet file; an image is a path, bytes, or a struct with `bytes` and `path`."""

    def __init__(self, source: str, column: str | None) -> None:
        pa, pq = pyarrow()
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
            raise InputError(f"{source}: is neither a picture, a folder, a tar nor a parquet file ({line})") from error
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
