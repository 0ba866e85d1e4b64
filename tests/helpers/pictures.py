"""Pictures for the tests."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)


def zoo(folder: Path) -> dict[str, str]:
    """Bad files by name, and a word that the error must contain."""
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (200, 200, 3)).astype(np.uint8)).save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (200, 200, 3)).astype(np.uint8)).save(buffer, "PNG")
    png = buffer.getvalue()
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "cut.png").write_bytes(png[: len(png) // 2])
    (folder / "head.png").write_bytes(png[:20])
    (folder / "flipped.png").write_bytes(bytes(flipped))
    (folder / "folder.png").mkdir()
    for name, side in (("huge.png", 12000), ("bomb.png", 30000)):
        size = struct.pack(">II", side, side)
        header = b"IHDR" + size + png[24:29]
        (folder / name).write_bytes(png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:])
    return {
        "empty.jpg": "empty", "text.jpg": "not an image", "cut.jpg": "truncated", "cut.png": "truncated",
        "head.png": "", "flipped.png": "damaged", "folder.png": "folder", "huge.png": "limit of 100 Mpixel",
        "bomb.png": "limit of 100 Mpixel", "missing.jpg": "no such file",
    }  # fmt: skip
