"""Crops made by the batch on the device against those made one by one, and a run that trains on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.faces import SETTINGS, write_faces
from torch.nn import functional as F

from acdc_fast.markups import MARKUPS
from acdc_fast.training.data.database import Database
from acdc_fast.training.data.sample import Annotation, Sample
from acdc_fast.training.loop.captured import WARM, Captured
from acdc_fast.training.loop.progress import read_history
from acdc_fast.training.loop.train import train
from acdc_fast.training.sampling.augment import crop_face, turned_pose
from acdc_fast.training.sampling.device_augment import crop_batch, turned
from acdc_fast.training.sampling.device_dataset import SIDE, ResidentFaces, make_resident
from acdc_fast.training.sampling.device_photometry import Draws, _blur, _jpeg, _occlude, _resampled, photometry
from acdc_fast.training.sampling.targets import Targets
from acdc_fast.training.settings import Augmentation, Settings, Source, read_settings
from acdc_fast.weights import load_weights

FIVE = np.array([[85, 100], [115, 101], [102, 120], [90, 140], [110, 139]], np.float32)
STILL = Augmentation(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
TURNED = replace(STILL, rotation=20, scale=0.12, shift=0.05, mirror=0.5)


class Faces(Database):
    """Faces in memory."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.name, self.split, self.samples, self.markups = "made", "all", samples, tuple(samples[0].landmarks)

    def __len__(self) -> int:
        return len(self.samples)

    def annotation(self, index: int) -> Annotation:
        return self.samples[index]

    def _picture(self, index: int) -> str:
        return str(index)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.samples[index]


def smooth(height: int, width: int, seed: int, cell: float = 8) -> np.ndarray:
    """A picture of grey cells of this width, which interpolation changes little."""
    shape = (round(height / cell) + 2, round(width / cell) + 2)
    noise = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))


def resident_of(*samples: Sample, source: Source | None = None) -> ResidentFaces:
    return make_resident(Faces(samples), source or Source("made"))


def batch(resident: ResidentFaces, size: int, how: Augmentation, seed: int = 0) -> tuple[np.ndarray, Targets]:
    image, targets = crop_batch(resident, torch.arange(len(resident)), size, how, seed)
    assert image.dtype == torch.uint8
    return image[:, 0].numpy().astype(np.float32), targets


@pytest.mark.parametrize("grow", [0.4, 1, 4])
@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_still_crops_are_those_made_one_by_one(grow: float, mirror: float) -> None:
    """Small faces, faces at the canvas's scale, and faces that are shrunk; a picture that ends within the crop."""
    rng = np.random.default_rng(3)
    samples = []
    for seed, (height, width) in enumerate([(240, 200), (150, 180)]):
        image = smooth(round(height * grow), round(width * grow), seed, 8 * grow)
        points = (FIVE + 0.5) * grow - 0.5 + rng.normal(size=2).astype(np.float32)
        pose = rng.uniform(-40, 40, 3).astype(np.float32)
        weights = {"2d5": np.array([1, 0, 1, 0.5, 1], np.float32)}
        samples.append(Sample(source="", name="", image=image, landmarks={"2d5": points}, pose=pose, weights=weights))
    still = replace(STILL, mirror=mirror)
    resident = resident_of(*samples, source=Source("made", markups={"2d5": 0.5}))
    with pytest.MonkeyPatch.context() as patch:  # of the two kinds of border the one that goes on
        patch.setattr(Draws, "chance", lambda self, p: torch.full((self.count,), p == 1.0))
        images, targets = batch(resident, 96, still)
    for k, sample in enumerate(samples):
        crop = crop_face(sample, 96, None)
        image, points, weights, pose = crop.image[0], crop.landmarks["2d5"], crop.weights["2d5"], sample.pose
        if mirror:
            table = MARKUPS["2d5"].mirror
            image, points, weights = image[:, ::-1], (points * (-1, 1) + (1, 0))[table], weights[table]
            pose = pose * (-1, 1, -1)  # type: ignore[operator]
        apart = np.abs(images[k] - image)  # two interpolations in place of one
        assert apart.mean() < 1 and np.percentile(apart, 99) < 6
        assert np.abs(targets.landmarks["2d5"][k].numpy() - points).max() * 96 < 1e-3
        assert np.allclose(targets.weights["2d5"][k], 0.5 * weights)
        assert targets.pose is not None and np.allclose(targets.pose[k], pose, atol=1e-3)


@pytest.mark.parametrize("size", [64, 96, 128])
def test_pixels_move_as_the_labels_say(size: int) -> None:
    """A bright dot at each point; in the crop its centre of mass lies where the label is."""
    points, samples = (FIVE - 100) * 2.5 + 400, []
    y, x = np.mgrid[:800, :800]
    for at in points:
        spot = 255 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * 5.0**2))
        samples.append(Sample(source="", name="", image=spot.astype(np.uint8), landmarks={"2d5": points}))
    checked, (y, x) = 0, np.mgrid[:size, :size] + 0.5
    for seed in range(4):
        images, targets = batch(resident_of(*samples), size, TURNED, seed)
        for index, image in enumerate(images):
            labels = targets.landmarks["2d5"][index].numpy() * size
            mirrored = labels[MARKUPS["2d5"].mirror[index]]
            for label in (labels[index], mirrored):  # mirrored or not: one of them is at the dot
                near = np.hypot(x - label[0], y - label[1]) < 0.09 * size
                mass = np.where(near, image, 0)
                if (label < 0.1 * size).any() or (label > 0.9 * size).any() or mass.sum() < 0.1 * size**2:
                    continue
                at = np.array([(mass * x).sum(), (mass * y).sum()]) / mass.sum()
                if np.abs(at - label).max() < 0.03 * size:
                    assert np.abs(at - label).max() < 0.15  # of a crop pixel, after two interpolations
                    checked += 1
    assert checked > 12


def test_loose_boxes_are_those_of_other_people() -> None:
    """As `augment`'s: the eyes' distance in the crop tells the scale, their middle the place."""
    many = resident_of(*[Sample(source="", name="", image=smooth(240, 200, 0), landmarks={"2d5": FIVE})] * 300)
    plain, loose = (batch(many, 64, replace(STILL, loose=share))[1].landmarks["2d5"].numpy() for share in (0.0, 0.5))
    scale = np.ptp(plain[:, :2, 0], 1) / np.ptp(loose[:, :2, 0], 1)
    away = (0.5 - loose.mean(1)) * scale[:, None] - (0.5 - plain.mean(1))
    moved = np.abs(scale - 1) > 1e-5
    assert 0.4 < moved.mean() < 0.6 and np.abs(away[~moved]).max() < 1e-5
    assert 0.599 <= scale.min() < 0.65 and 1.9 < scale.max() <= 2.001 and 0.28 < np.abs(away).max() <= 0.301


def test_turned_and_aside_crops_have_no_labels() -> None:
    """As `augment`'s: with the labels' weights gone, the points still tell the turn and the place."""
    pose = np.array([10, 5, 3], np.float32)
    sample = Sample(source="", name="", image=smooth(240, 200, 0), landmarks={"2d5": FIVE}, pose=pose)
    resident = resident_of(*[sample] * 400)
    _, targets = batch(resident, 64, replace(STILL, turned=0.4, aside=0.5, mirror=0.5))
    assert targets.wide is not None and targets.pose is not None
    points, wide = targets.landmarks["2d5"].numpy(), targets.wide.bool().numpy()
    plain = batch(resident, 64, STILL)[1].landmarks["2d5"][0].numpy()
    down = np.stack([points[:, 3] + points[:, 4] - points[:, 0] - points[:, 1]])[0]  # from the eyes to the mouth
    turned, away = down[:, 1] < 0.95 * np.ptp(plain[:, 1]), np.linalg.norm(points.mean(1) - plain.mean(0), axis=1)
    aside = away > 0.9
    assert (wide == turned | aside).all() and not (turned & aside).any()
    assert 0.33 < turned.mean() < 0.47 and 0.23 < aside.mean() < 0.37
    assert (targets.weights["2d5"].numpy() == ~wide[:, None]).all()
    assert (torch.isnan(targets.pose).all(1).numpy() == wide).all()
    assert batch(resident, 64, STILL)[1].wide is None


def test_mirrored_labels_change_sides() -> None:
    sample = Sample(source="", name="", image=smooth(200, 200, 0), landmarks={"2d5": FIVE})
    plain, mirrored = (
        batch(resident_of(sample), 64, replace(STILL, mirror=m))[1].landmarks["2d5"][0].numpy() for m in (0.0, 1.0)
    )
    assert np.allclose(mirrored[0], [1 - plain[1, 0], plain[1, 1]], atol=1e-6)


def test_pose_turns_as_the_packages_own() -> None:
    rng = np.random.default_rng(0)
    poses, angles = rng.uniform(-80, 80, (50, 3)), rng.uniform(-60, 60, 50)
    found = turned(torch.tensor(poses), torch.tensor(angles)).numpy()
    expected = np.array([turned_pose(p, a) for p, a in zip(poses, angles, strict=True)])
    assert np.abs(found - expected).max() < 1e-9


def test_pose_that_is_unknown_stays_so() -> None:
    known = Sample(source="", name="", image=smooth(200, 200, 0), landmarks={"2d5": FIVE}, pose=np.float32([1, 2, 3]))
    _, targets = batch(resident_of(known, replace(known, pose=None)), 64, TURNED)
    assert targets.pose is not None and torch.isfinite(targets.pose[0]).all() and targets.pose[1].isnan().all()
    assert batch(resident_of(replace(known, pose=None)), 64, TURNED)[1].pose is None


def test_blur_is_a_gaussian() -> None:
    pictures = [smooth(96, 96, s) for s in range(3)]
    sigmas = [0.7, 1.1, 1.7]
    found = _blur(torch.tensor(np.stack(pictures))[:, None].float(), torch.tensor(sigmas))[:, 0].numpy()
    for ours, picture, sigma in zip(found, pictures, sigmas, strict=True):
        theirs = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        assert np.abs(ours - theirs).max() < 1.5  # OpenCV cuts its Gaussian off nearer


@pytest.mark.parametrize("small", [20, 29, 51])
def test_low_resolution_is_an_average_and_an_interpolation(small: int) -> None:
    """The matrix product for low resolution, against PyTorch's own area and bilinear resampling."""
    image = torch.tensor(np.stack([smooth(64, 64, s) for s in range(2)]) / 255.0)[:, None].float()
    both = _resampled(64, small, torch.device("cpu"))
    down = F.interpolate(image, (small, small), mode="area")
    expected = F.interpolate(down, (64, 64), mode="bilinear", align_corners=False)
    assert (both @ image @ both.T - expected).abs().max() < 1e-5 < (expected - image).abs().max()


@pytest.mark.parametrize("quality", [25, 50, 80])
def test_jpeg_is_what_a_coder_leaves(quality: int) -> None:
    picture = smooth(96, 96, 5)
    picture = np.clip(picture + np.random.default_rng(1).normal(0, 12, picture.shape), 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    theirs = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE).astype(float)
    ours = _jpeg(torch.tensor(picture / 255.0)[None, None].float(), torch.tensor([float(quality)]))[0, 0] * 255
    lost = np.abs(theirs - picture).mean()
    assert lost > 2 and np.abs(ours.numpy() - theirs).mean() < 0.15 * lost  # rounding of the coder's own transform


def test_still_photometry_is_the_identity() -> None:
    image = torch.tensor(smooth(64, 64, 2) / 255.0)[None, None].float()
    assert torch.equal(photometry(image, STILL, Draws(1, image.device, 0)), (image * 255).round().to(torch.uint8))


def test_photometry_changes_faces_apart_and_stays_in_range() -> None:
    image = torch.tensor(smooth(64, 64, 2) / 255.0).float().expand(64, 1, 64, 64).contiguous()
    found = photometry(image, Augmentation(), Draws(64, image.device, 1)) / 255
    assert found.shape == image.shape and found.min() >= 0 and found.max() <= 1
    changes = (found - image).abs().mean((1, 2, 3))
    assert changes.std() > 0.01 and (changes > 0.004).float().mean() > 0.8
    covered = (_occlude(image, Draws(64, image.device, 2)) != image).float().mean((1, 2, 3))
    assert 0.01 < covered.median() < 0.3 and covered.max() < 0.5


def test_the_same_seed_gives_the_same_batch() -> None:
    resident = resident_of(Sample(source="", name="", image=smooth(200, 200, 0), landmarks={"2d5": FIVE}))
    first, again, other = (batch(resident, 64, Augmentation(), seed)[0] for seed in (7, 7, 8))
    assert (first == again).all() and (first != other).any()


def test_points_stay_where_the_source_moves_them() -> None:
    box = np.float32([70, 80, 130, 150])
    sample = Sample(source="", name="", image=smooth(200, 200, 0), landmarks={"2d5": FIVE}, box=box)
    by = Source("made", shift=(-2.0, 1.0))
    plain, moved = (resident_of(sample, source=s) for s in (Source("made"), by))
    scale = (plain.landmarks["2d5"][0, 1] - plain.landmarks["2d5"][0, 0]).norm() / np.hypot(30, 1)
    assert torch.allclose(moved.landmarks["2d5"] - plain.landmarks["2d5"], torch.tensor([-2.0, 1.0]) * scale, atol=1e-4)
    assert plain.images.shape == (1, SIDE, SIDE)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "small.yaml").write_text(SETTINGS + "on_device: true\n")
    write_faces(tmp_path)
    return read_settings(tmp_path / "small.yaml")


def test_a_run_on_kept_faces_resumes_bit_for_bit(settings: Settings, tmp_path: Path) -> None:
    assert train(settings, tmp_path, tmp_path / "whole", device="cpu") == 0
    assert train(settings, tmp_path, tmp_path / "parts", until=3, device="cpu") == 0
    assert train(settings, tmp_path, tmp_path / "parts", resume=True, device="cpu") == 0
    whole, parts = (load_weights(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all((whole.arrays[n] == parts.arrays[n]).all() for n in whole.arrays)
    assert [line for line in read_history(tmp_path / "whole") if "mtfl/loss" in line]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here: nothing can be recorded")
def test_recorded_updates_are_the_plain_ones(settings: Settings, tmp_path: Path) -> None:
    """A whole run by recorded graphs beside the same run without."""
    long = replace(settings, phases=(replace(settings.phases[0], updates=3 * WARM + 6),))
    found = []
    for recorded in (True, False):
        out = tmp_path / str(recorded)
        with pytest.MonkeyPatch.context() as patch:
            if not recorded:
                patch.setattr(Captured, "__call__", lambda self, image, targets, source: self.function(image, targets))
            assert train(long, tmp_path, out, device="cuda") == 0
        found.append([line["mtfl/loss"] for line in read_history(out) if "mtfl/loss" in line])
    assert len(found[0]) == 3 * WARM + 6
    # Sums of gradients by atomics differ in order; updates of a rate of 1e-2 let the difference grow.
    assert np.allclose(*found, rtol=2e-2)
    assert not np.isclose(found[0][1:], found[0][:-1], rtol=2e-2).any()  # batches differ by more than that
