"""A folder of pictures, or a pattern that no shell expanded → the files."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from PIL import Image


def inside(name: str) -> list[str] | None:
    """The pictures of a folder, by the ending of their names, or a pattern's matches; sorted by name. None for another
    name."""
    if os.path.isdir(name):
        paths = [os.path.join(name, entry) for entry in sorted(os.listdir(name))]
        return [path for path in paths if is_named_as_picture(path) and os.path.isfile(path)]
    return sorted(glob.glob(name)) if glob.has_magic(name) and not os.path.exists(name) else None


def is_named_as_picture(path: str) -> bool:
    """Whether the name ends as that of a picture that Pillow knows."""
    return Path(path).suffix.lower() in Image.registered_extensions()
