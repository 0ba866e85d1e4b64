"""A tiny database in the packed format (discs with two eyes and a mouth, five points known exactly) and weights."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.small import arrays_of

from acdc_fast import ACDC, ACDCConfig
from acdc_fast.photo.coordinates import box_from_points
from acdc_fast.training.data import Database, derived
from acdc_fast.weights import Weights, save_weights

HEADER = "image,x0,y0,x1,y1,x2,y2,x3,y3,x4,y4,gender,smile,glasses,pose"


def write_faces(root: Path, count: int = 12, seed: int = 0) -> Path:
    """``mtfl-train.tar`` with ``count`` drawn faces under ``root``."""
    rng = np.random.default_rng(seed)
    lines, files = [HEADER], {}
    for i in range(count):
        cx, cy, s = *rng.uniform(40, 60, 2), rng.uniform(8, 12)
        points = np.array([[-1, -1], [1, -1], [0, 0], [-0.8, 1], [0.8, 1]]) * s + (cx, cy)
        image = np.full((100, 100), 60, np.uint8)
        cv2.circle(image, (int(cx), int(cy)), int(2.4 * s), 200, -1)
        for x, y in points:
            cv2.circle(image, (round(x), round(y)), 2, 20, -1)
        files[f"faces/{i}.jpg"] = cv2.imencode(".jpg", image)[1].tobytes()
        lines.append(f"faces/{i}.jpg," + ",".join(f"{v:.2f}" for v in points.ravel()) + f",1,1,2,{i % 5 + 1}")
    files["annotations.csv"] = "\n".join(lines).encode()
    with tarfile.open(root / "mtfl-train.tar", "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return root


def find_by_hand(monkeypatch: pytest.MonkeyPatch, cache: Path, widest: float = 1.5) -> None:
    """A detector need not take drawn discs for faces. So training gets their boxes from here, each wider in its own way
    by up to ``widest``, and keeps them in ``cache``."""

    def boxes(database: Database) -> np.ndarray:
        points = np.stack([database.annotation(i).five for i in range(len(database))])
        found = box_from_points(points)
        middle, half = (found[:, :2] + found[:, 2:]) / 2, (found[:, 2:] - found[:, :2]) / 2
        half *= np.random.default_rng(1).uniform(1, widest, (len(half), 1))
        return np.concatenate([middle - half, middle + half], 1).astype(np.float32)

    monkeypatch.setenv("ACDC_CACHE", str(cache))
    monkeypatch.setattr(derived, "detected_boxes", boxes)


def write_weights(path: Path, config: ACDCConfig, **card: str) -> None:
    """A network before any training."""
    torch.manual_seed(0)
    save_weights(path, Weights(config, arrays_of(ACDC(config)), card=card))


SETTINGS = """
network: {width: 4, stages: 2, variant: ac, markups: [2d5]}
databases: [{name: mtfl, batches: 1}]
phases: [{updates: 4, resolution: 32, batch: 4}, {updates: 4, resolution: 40, batch: 2}]
optimiser: {rate: 1e-2, muon_rate: 1e-2, warmup: 2, clip: 1.0, ema: 0.9}
validation: [{name: mtfl, split: "train[:3]"}]
threads: 1
workers: 0
log_every: 1
validate_every: 4
checkpoint_minutes: 0
card: {licence: none}
"""
