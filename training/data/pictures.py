"""Where a database keeps its pictures, in a folder or a tar, and how they are decoded."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from PIL import Image

from acdc_fast.errors import InputError


class Pictures(Protocol):
    """Where a database keeps its pictures."""

    def has(self, name: str) -> bool: ...
    def read(self, name: str) -> bytes: ...
    def where(self, name: str) -> str: ...


@dataclass(frozen=True)
class FolderPictures:
    """Pictures as files under a folder."""

    root: Path

    def has(self, name: str) -> bool:
        return (self.root / name).is_file()

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def where(self, name: str) -> str:
        return str(self.root / name)


class TarPictures:
    """Pictures in an uncompressed tar, found by their offsets. No file stays open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with tarfile.open(path, "r:") as tar:
                self._index = {m.name: (m.offset_data, m.size) for m in tar if m.isfile()}
        except (OSError, tarfile.TarError) as error:
            raise InputError(f"{path}: cannot be read as a tar: {error}") from error

    def has(self, name: str) -> bool:
        return name in self._index

    def read(self, name: str) -> bytes:
        offset, size = self._index[name]
        with open(self.path, "rb") as file:
            file.seek(offset)
            return file.read(size)

    def where(self, name: str) -> str:
        return f"{self.path}:{name}"

    def fault(self, name: str) -> str | None:
        """What is wrong with a table's row of this picture: it is not here. None if it is."""
        return None if self.has(name) else f"picture {name} is not in {self.path.name}"


def decode_grey(data: bytes, where: str) -> np.ndarray:
    """An encoded picture as (H, W) uint8 grey, in the orientation of its stored pixels. Raises `InputError`."""
    if data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[len(data) // 2 :]:  # decoders fill the rest with grey
        raise InputError(f"{where}: a JPEG that ends too early")
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise InputError(f"{where}: not a picture that can be decoded")
    return np.asarray(image)


def decode_colour(data: bytes, where: str) -> np.ndarray:
    """An encoded picture as (H, W, 3) uint8 RGB, in the orientation of its stored pixels. Raises `InputError`."""
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (OSError, ValueError) as error:  # PIL's error for an unknown kind of file is an OSError
        raise InputError(f"{where}: not a picture that can be decoded: {error}") from error
