"""Sources of faces: every face has its turn, labels are moved and weighed, each source is augmented its own way."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.faces import find_by_hand
from helpers.small_training import ALONE

from acdc_fast.errors import InputError
from acdc_fast.training.distributed import World
from acdc_fast.training.sampling import batches as batches_module
from acdc_fast.training.sampling.batches import Batches, open_source
from acdc_fast.training.sampling.device_batches import DeviceBatches
from acdc_fast.training.settings import Augmentation, Settings, Source
from acdc_fast.training.strict_yaml import build


def test_workers_and_shares_see_the_same_faces(root: Path, small: Settings) -> None:
    source = [open_source(s, root) for s in small.databases]
    whole = Batches(small, source, ALONE)
    parts = [Batches(small, source, World(r, 2, ALONE.device)) for r in (0, 1)]
    with_worker = Batches(build(Settings, {**small.to_dict(), "workers": 1}, "x"), source, ALONE)
    for step, (batch, again) in enumerate(zip(whole.loader(0), with_worker.loader(0), strict=True)):
        assert torch.equal(batch.image, again.image)
        assert torch.equal(batch.image, torch.cat([p[step].image for p in parts]))
        labels = [p[step].targets.landmarks["2d5"] for p in parts]
        assert torch.equal(batch.targets.landmarks["2d5"], torch.cat(labels))
    with pytest.raises(InputError, match="cannot be shared equally by 3"):
        Batches(small, source, World(0, 3, ALONE.device))


def test_every_face_has_its_turn_once_a_sweep(root: Path, small: Settings) -> None:
    values = {**small.to_dict(), "databases": [{"name": "mtfl", "batches": 2}, {"name": "mtfl", "split": "train[:5]"}]}
    settings = build(Settings, values, "x")
    batches = Batches(settings, [open_source(s, root) for s in settings.databases], ALONE)
    assert settings.round == (0, 1, 0)
    assert [batches.faces_before(s, 0) for s in range(9)] == [0, 4, 4, 8, 12, 12, 14, 16, 16]
    assert [batches.faces_before(s, 1) for s in range(9)] == [0, 0, 4, 4, 4, 6, 6, 6, 8]
    seen = [name for s in (1, 4) for name in _names(batches, s)]
    assert sorted(seen[:5]) == sorted(f"faces/{i}.jpg" for i in range(5))  # a whole sweep before any comes twice


def test_a_source_moves_and_weighs_its_labels(
    root: Path, small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved in the picture, so that a mirrored face's labels move the other way; the pictures stay."""
    find_by_hand(monkeypatch, tmp_path)
    changed = [{"name": "mtfl", "shift": [2.0, -1.0], "markups": {"2d5": 0.25}}]
    settings = [small, build(Settings, {**small.to_dict(), "databases": changed}, "x")]
    plain, moved = (Batches(s, [open_source(Source("mtfl"), root)], ALONE) for s in settings)
    signs = set()
    for step in range(8):
        before, after = plain[step], moved[step]
        assert torch.equal(before.image, after.image)
        labels, gap = before.targets, after.targets.landmarks["2d5"] - before.targets.landmarks["2d5"]
        assert torch.allclose(gap, gap[:, :1].expand_as(gap), atol=1e-5)  # all points of a face alike
        assert (gap.norm(dim=2) > 0.01).all()
        signs |= set((gap[:, 0, 0] > 0).tolist())
        inside = (after.targets.landmarks["2d5"] > 0.05).all() and (after.targets.landmarks["2d5"] < 0.95).all()
        if inside:
            assert torch.equal(after.targets.weights["2d5"], 0.25 * labels.weights["2d5"])
    assert signs == {True, False}


@pytest.mark.parametrize("kind", [Batches, DeviceBatches])
def test_a_source_is_augmented_its_own_way(root: Path, small: Settings, kind: type[Batches]) -> None:
    """One of two sources is moved by half of the crop, the other, by the run's settings, not at all."""
    still = dict.fromkeys((f.name for f in fields(Augmentation)), 0.0)
    sources = [{"name": "mtfl"}, {"name": "mtfl", "augment": still | {"shift": 0.5}}]
    settings = build(Settings, {**small.to_dict(), "databases": sources, "augment": still}, "x")
    assert settings.round == (0, 1)
    batches = kind(settings, [open_source(Source("mtfl"), root)] * 2, ALONE)
    middles = [batches[step].targets.landmarks["2d5"].mean(1) for step in range(6)]
    spreads = [torch.cat(middles[which::2]).std(0).mean() for which in (0, 1)]
    assert spreads[0] < 0.1 and 0.3 < spreads[1] < 0.8
    assert settings.to_dict()["databases"][0]["augment"] is None


@pytest.mark.parametrize("kind", [Batches, DeviceBatches])
def test_a_face_looks_another_way_each_time(root: Path, small: Settings, kind: type[Batches]) -> None:
    """One face alone fills four updates of four: no two of its sixteen crops are alike, in pixels or in labels."""
    values = {**small.to_dict(), "databases": [{"name": "mtfl", "split": "train[:1]"}]}
    settings = build(Settings, values, "x")
    batches = kind(settings, [open_source(s, root) for s in settings.databases], ALONE)
    images, labels = [], []
    for step in range(4):
        images += list(batches[step].image.float())
        labels += list(batches[step].targets.landmarks["2d5"])
    assert len(images) == 16
    for one, other in itertools.combinations(range(16), 2):
        assert (images[one] - images[other]).abs().mean() > 0.5
        assert (labels[one] - labels[other]).abs().max() > 1e-3


def test_a_source_of_large_yaws_has_these_faces_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To either side, and none whose pose is unknown. A range is taken first: it counts places in the database."""
    poses = [None, (0, 0, 0), (-60, 0, 0), (59.9, 80, 80), (75, 0, 0), (-59, 0, 0), None, (61, 0, 0)]
    database = open_source(Source("mtfl"), root)
    known = [replace(database.annotation(i), pose=None if p is None else np.array(p)) for i, p in enumerate(poses)]
    monkeypatch.setattr(type(database), "__len__", lambda _: len(known))
    monkeypatch.setattr(type(database), "annotation", lambda _, i: known[i])
    monkeypatch.setattr(batches_module, "open_database", lambda *_: database)

    def names(**source: Any) -> list[str]:
        chosen = open_source(Source("mtfl", **source), root)
        return [chosen.annotation(i).name for i in range(len(chosen))]

    assert names(yaw=60.0) == ["faces/2.jpg", "faces/4.jpg", "faces/7.jpg"]
    assert names(yaw=60.0, split="train[3:7]") == ["faces/4.jpg"]
    assert len(names()) == 8
    with pytest.raises(InputError, match="no faces with a yaw of 80° or more"):
        names(yaw=80.0)


def _names(batches: Batches, step: int) -> list[str]:
    """Faces of one batch."""
    return [batches.sources[which].annotation(index).name for which, index in batches.faces(step)]
