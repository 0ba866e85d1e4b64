"""Batches of the detector's training: hard pictures come again until they are learned; surroundings hold no face."""

from __future__ import annotations

import numpy as np
import torch

from acdc_fast.training.finding.batches import SIZES, HardPictures, batch
from acdc_fast.training.finding.collage import Crop
from acdc_fast.training.finding.faces import surroundings


def test_pictures_labels_and_boxes_go_together() -> None:
    image = np.full((90, 90), 200, np.uint8)
    face = Crop(image, np.array([[20.0, 20, 60, 70]], np.float32), np.ones(1, bool))
    rng, seen = np.random.default_rng(0), set()
    for _ in range(12):
        pictures, labels, boxes = batch([face], [], rng)
        count, _, side, _ = pictures.shape
        assert (side, count) in SIZES
        cells = sum((-(-side // stride)) ** 2 for stride in (8, 16, 32))
        assert labels.shape == (count, cells) and boxes.shape == (count, cells, 4)
        assert (labels == 1).any() and pictures.abs().max() <= 1
        seen.add(side)
    assert len(seen) > 1


def test_a_hard_picture_comes_again_until_it_is_learned() -> None:
    hard, rng = HardPictures(), np.random.default_rng(0)
    pictures = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 8, 8).clone()
    labels = torch.zeros(4, 6)
    labels[1, 2], labels[2, 0] = 1, -1  # a face; something left out
    logits = torch.full((4, 6), -9.0)
    logits[:3, 1] = 2.0
    hard.learn(pictures, labels, logits)
    assert len(hard) == 1  # the first: the second and third hold something, in the last no cell scores
    others, tags = torch.full((400, 1, 8, 8), 7.0), torch.ones(400, 6)
    hard.put_in(others, tags, rng)
    place = torch.nonzero((others == 0).all(1).all(1).all(1))
    assert len(hard) == 0 and len(place) == 1 and (tags[place] == 0).all() and (tags == 0).sum() == 6
    hard.learn(others, tags, torch.full((400, 6), -9.0))
    assert len(hard) == 0  # learned


def test_pictures_of_other_sides_are_not_mixed_and_the_oldest_go() -> None:
    hard, rng = HardPictures(most=3), np.random.default_rng(0)
    for value in range(5):
        hard.learn(torch.full((1, 1, 8, 8), float(value)), torch.zeros(1, 2), torch.ones(1, 2))
    larger, tags = torch.full((100, 1, 16, 16), 9.0), torch.ones(100, 2)
    hard.put_in(larger, tags, rng)
    assert len(hard) == 3 and (larger == 9).all() and (tags == 1).all()
    fitting = torch.full((100, 1, 8, 8), 9.0)
    hard.put_in(fitting, torch.ones(100, 2), rng)
    assert set(fitting.unique().tolist()) == {2, 3, 4, 9}


def test_surroundings_lie_beside_all_boxes() -> None:
    image = np.zeros((200, 240), np.uint8)
    image[20:150, 10:130] = 255
    boxes = np.array([[10, 20, 70, 100], [60, 40, 130, 150]], np.float32)
    strips = surroundings([Crop(image, boxes, np.ones(2, bool))], 5, np.random.default_rng(0))
    assert len(strips) == 1 and strips[0].shape == (200, 110) and not strips[0].any()
    filled = Crop(image, np.array([[5, 5, 235, 195]], np.float32), np.ones(1, bool))
    assert surroundings([filled], 5, np.random.default_rng(0)) == []
