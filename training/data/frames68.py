"""68-point video frames: a packed tar of crops named ``Person_Name_12.jpg``. The points are automatic, so noisy.

The split is by person: nobody is in both parts. A person is held out if a hash of the name (CRC-32 of the UTF-8 text,
the same on every machine) falls in the first tenth.
"""

from __future__ import annotations

import zlib
from pathlib import Path, PurePosixPath

from acdc_fast.errors import InputError

from .database import Chosen, Database
from .packed_tar import open_packed

TAR = "ytf68-train.tar"
HELD_OUT = 0.1
SPLITS = ("train", "test", "all")


def person(name: str) -> str:
    """The person in a frame: its file name up to the last ``_``."""
    return PurePosixPath(name).stem.rpartition("_")[0]


def is_held_out(person: str) -> bool:
    return zlib.crc32(person.encode("utf-8")) < HELD_OUT * 2**32


def open_frames68(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    """Splits: "train", "test" (people held out) and "all"."""
    if split not in SPLITS:
        raise InputError(f"frames68 has splits {', '.join(SPLITS)}, not {split!r}")
    table = open_packed(root / TAR, "frames68", split, "2d68", (), skip_broken)
    if split == "all":
        return table
    return Chosen(table, [i for i, n in enumerate(table.names) if is_held_out(person(n)) == (split == "test")], split)
