"""Batches for the detector: collages, and the pictures without faces in which the network sees one.

Batches for the landmarks' network are in `training.sampling.batches`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
import torch

from .collage import Crop, collage
from .targets import targets

#: Sides of the pictures of a batch, and how many there are: all cost much the same. Small pictures alone would teach
#: that every face is near a border.
SIZES = ((160, 16), (224, 8), (320, 4))
OFTEN = (0.5, 0.35, 0.15)
#: A picture without faces is shown again while a cell of it scores more.
HARD = 0.4
#: This share of the pictures is replaced by hard ones.
SHOWN = 0.125


def batch(faces: list[Crop], backgrounds: list[np.ndarray], rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """Pictures (B, 1, S, S), labels (B, cells), boxes (B, cells, 4)."""
    images, labels, boxes = [], [], []
    side, count = SIZES[int(rng.choice(len(SIZES), p=OFTEN))]
    for _ in range(count):
        canvas = collage(faces, backgrounds, side, rng)
        label, wanted = targets(np.array(canvas.boxes).reshape(-1, 4), np.array(canvas.counts, bool), side)
        images.append(canvas.image)
        labels.append(label)
        boxes.append(wanted)
    pictures = (torch.from_numpy(np.stack(images)[:, None]).float() - 128) / 128
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    return pictures, torch.from_numpy(np.stack(labels)), torch.from_numpy(np.stack(boxes))


class Batches(torch.utils.data.IterableDataset[tuple[torch.Tensor, ...]]):
    """Batches without end, for a process of their own."""

    def __init__(self, faces: list[Crop], backgrounds: list[np.ndarray], seed: int) -> None:
        self.faces, self.backgrounds, self.seed = faces, backgrounds, seed

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        cv2.setNumThreads(1)
        rng = np.random.default_rng(self.seed)
        while True:
            yield batch(self.faces, self.backgrounds, rng)


class HardPictures:
    """Pictures without faces in which the network sees one, by side. Each is shown once more, then judged again."""

    def __init__(self, most: int = 2000) -> None:
        self.most = most
        self.kept: dict[int, list[torch.Tensor]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.kept.values()))

    def put_in(self, pictures: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator) -> None:
        """Puts hard pictures, half of them mirrored, in the place of some (B, 1, S, S); their labels become 0."""
        pool = self.kept.setdefault(pictures.shape[2], [])
        for place in range(len(pictures)):
            if pool and rng.random() < SHOWN:
                picture = pool.pop(int(rng.integers(len(pool))))
                pictures[place] = picture.flip(-1) if rng.random() < 0.5 else picture
                labels[place] = 0

    def learn(self, pictures: torch.Tensor, labels: torch.Tensor, logits: torch.Tensor) -> None:
        """Keeps those without faces of which a cell scores more than `HARD`; of too many the oldest go."""
        pool = self.kept.setdefault(pictures.shape[2], [])
        hard = (labels == 0).all(1) & (logits.detach().amax(1) > math.log(HARD / (1 - HARD)))
        pool += [picture.clone() for picture in pictures[hard]]
        del pool[: -self.most]
