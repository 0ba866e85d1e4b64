"""The pictures inside a tar, as WebDataset lays them down. Nothing is unpacked to the disk.

The headers are read once for the names; the pictures are then read in their order, one at a time. A tar or a member
that cannot be read is an entry with its error, and the others are still read.
"""

from __future__ import annotations

import contextlib
import gzip
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from ..errors import InputError
from ..photo.images import MAX_BYTES, ImageLike
from .names import SUFFIXES, digest_of, printable, stamp

ENDINGS = (".tar", ".tar.gz", ".tgz")
#: A name or an attribute that takes more bytes than this is refused before it is read.
MAX_HEADER = 1 << 16
#: Headers whose data tarfile reads into memory: long names, long links, pax.
_IN_MEMORY = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
              tarfile.SOLARIS_XHDTYPE)  # fmt: skip


class Entry(NamedTuple):
    """A picture's place in the tar (unpacked, in bytes), or why it cannot be read."""

    name: str
    offset: int = 0
    size: int = 0
    problem: str | None = None


class Tar:
    """Pictures of a tar, in its order; ``label`` stands before their names."""

    def __init__(self, source: str, label: str) -> None:
        self.source, self.label = Path(source), label
        self.entries = self._entries()
        self.names = [entry.name for entry in self.entries]
        self.digest = digest_of([stamp(self.source), *self.names])

    def _entries(self) -> list[Entry]:
        found: list[Entry] = []
        try:
            with _opened(self.source) as file:
                try:
                    for member in _members(file):
                        name = printable(member.name.removeprefix("./"))
                        if not member.isdir() and PurePosixPath(name).suffix.lower() in SUFFIXES:
                            place = member.offset_data, member.size
                            found.append(Entry(f"{self.label}/{name}", *place, _problem(member)))
                except Exception:
                    last = found[-1] if found else None
                    if last is None or last.problem or _reaches(file, last.offset + last.size):
                        raise
                    found[-1] = last._replace(problem="is cut off: the tar ends inside it")
        except Exception as error:  # a damaged header makes tarfile and gzip raise nearly anything
            line = " ".join(str(error).split()) or type(error).__name__
            after = "; the pictures before that are read" if found else ""
            found.append(Entry(self.label, problem=f"is no whole tar ({line}){after}"))
        return found or [Entry(self.label, problem=f"holds no images ({', '.join(SUFFIXES)})")]

    def after(self, count: int) -> Iterator[ImageLike]:
        """Bytes of each picture, or an `InputError` in its place."""
        if all(entry.problem for entry in self.entries[count:]):
            yield from (InputError(f"{entry.name}: {entry.problem}") for entry in self.entries[count:])
            return
        with _opened(self.source) as file:
            for entry in self.entries[count:]:
                yield InputError(f"{entry.name}: {entry.problem}") if entry.problem else _read(file, entry)


class _Header(tarfile.TarInfo):
    """tarfile takes a damaged header for the end of the tar; here it is an error."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        if not buf:
            raise InputError("it ends without the mark of a tar's end")
        try:
            head = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not any(buf):  # a block of zeros: the mark of the end
                raise
            raise InputError(f"damaged header: {error}") from error
        if head.size < 0 or (head.type in _IN_MEMORY and head.size > MAX_HEADER):
            raise InputError(f"damaged header: a name or an attribute of {head.size} bytes")
        return head


def _members(file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """All members. Raises what tarfile raises, also where more follows the mark of the end."""
    with tarfile.TarFile(fileobj=file, tarinfo=_Header) as tar:
        while member := tar.next():
            if member.size < 0:  # of a pax header: the next member would lie before this one
                raise InputError(f"damaged header: a member of {member.size} bytes")
            yield member
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep all members of a large tar
    while block := file.read(1 << 20):  # of a packed tar this also compares its checksum
        if block.strip(b"\0"):
            raise InputError("more follows after its end, such as another tar")


def _problem(member: tarfile.TarInfo) -> str | None:
    if member.issym() or member.islnk():
        return "is a link, which is not followed"
    if not member.isreg() or member.issparse():
        return "is not a regular file"
    return f"is larger than the limit of {MAX_BYTES >> 20} MiB" if member.size > MAX_BYTES else None


def _opened(path: Path) -> IO[bytes]:
    """The tar, unpacked while it is read where it is packed with gzip."""
    with open(path, "rb") as start:
        packed = start.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path) if packed else open(path, "rb"))


def _reaches(file: IO[bytes], end: int) -> bool:
    with contextlib.suppress(Exception):
        file.seek(end - 1)
        return bool(file.read(1))
    return False


def _read(file: IO[bytes], entry: Entry) -> bytes | InputError:
    try:
        file.seek(entry.offset)
        data = file.read(entry.size)
    except Exception as error:  # gzip's errors are of several kinds
        return InputError(f"{entry.name}: cannot be read ({' '.join(str(error).split())})")
    if len(data) < entry.size:
        return InputError(f"{entry.name}: is cut off after {len(data)} of {entry.size} bytes")
    return data
