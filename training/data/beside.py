"""Databases with one label file beside each picture: 300W, 300W-LP and AFLW2000-3D."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acdc_fast.errors import InputError

from .broken import Broken
from .database import Database
from .pictures import FolderPictures
from .sample import Annotation

#: Suffixes of pictures, in the order in which they are tried.
PICTURES = (".jpg", ".png", ".jpeg")


@dataclass(frozen=True)
class Labels:
    """One kind of label file."""

    markup: str
    suffix: str  # of its name: ".pts"
    #: Points (L, 2) float32 pixels of the picture, pose (3,) float32 degrees or None. Raises `InputError`.
    read: Callable[[Path], tuple[np.ndarray, np.ndarray | None]]


class FacesWithFiles(Database):
    """``files``: pictures, relative to the root. The labels of a picture are read on request."""

    def __init__(
        self, name: str, split: str, root: Path, labels: Labels, files: Sequence[str], skipped: Sequence[str]
    ) -> None:
        self.name, self.split, self.files, self.skipped = name, split, tuple(files), tuple(skipped)
        self.markups = (labels.markup,)
        self.root, self.labels, self.pictures = root, labels, FolderPictures(root)

    def __len__(self) -> int:
        return len(self.files)

    def _picture(self, index: int) -> str:
        return self.files[index]

    def annotation(self, index: int) -> Annotation:
        file = self.files[index]
        points, pose = self.labels.read((self.root / file).with_suffix(self.labels.suffix))
        return Annotation(source=self.name, name=file, landmarks={self.labels.markup: points}, pose=pose)


def list_pictures(root: Path, folders: Iterable[Path], labels: Labels, broken: Broken) -> list[str]:
    """Pictures with a label file in the folders, relative to the root. Label files without a picture are reported, and
    unreadable ones too if ``broken.skip`` is set."""
    files = []
    for folder in folders:
        for path in sorted(folder.glob(f"*{labels.suffix}")):
            picture = next((p for p in map(path.with_suffix, PICTURES) if p.is_file()), None)
            if picture is None:
                broken.report(f"{path}: no picture beside it ({', '.join(PICTURES)})")
                continue
            if broken.skip:
                try:
                    labels.read(path)
                except InputError as error:
                    broken.report(str(error), error)
                    continue
            files.append(str(picture.relative_to(root)))
    return files
