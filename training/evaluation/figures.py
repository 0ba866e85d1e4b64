"""Figures 5 and 6 of the paper, of our network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from acdc_fast.network import ACDC

from ..data import Database
from ..sampling.augment import crop_face


@torch.no_grad()
def draw_masks(network: ACDC, database: Database, resolution: int, path: Path, faces: int = 6) -> None:
    """Figure 6: one row for each face: the landmarks on the crop and the masks Φ_1…Φ_n of all stages."""
    from matplotlib.figure import Figure

    indices = np.linspace(0, len(database) - 1, min(faces, len(database))).round().astype(int)
    crops = np.stack([crop_face(database[int(i)], resolution).image for i in indices])
    prediction = network.eval()(torch.from_numpy(crops).float() / 255, all_stages=True)
    stages = prediction.stages or ()
    markup = network.config.order[-1]
    points = prediction.landmarks[markup].numpy() * resolution - 0.5
    figure = Figure(figsize=(1.6 * (1 + len(stages)), 1.7 * len(crops)), layout="constrained")
    axes = figure.subplots(len(crops), 1 + len(stages), squeeze=False)
    for row, crop, found, n in zip(axes, crops, points, range(len(crops)), strict=True):
        row[0].imshow(crop[0], cmap="gray", vmin=0, vmax=255)
        row[0].scatter(found[:, 0], found[:, 1], s=2, c="lime")
        for i, stage in enumerate(stages):
            row[1 + i].imshow(stage.mask[n, 0].numpy(), cmap="magma", vmin=0, vmax=1)
            if n == 0:
                row[1 + i].set_title(f"Φ{i + 1}")
        for axis in row:
            axis.axis("off")
    figure.savefig(path, dpi=120)


@torch.no_grad()
def draw_excitations(network: ACDC, database: Database, resolution: int, path: Path, limit: int = 400) -> None:
    """Figure 5: the excitation f(Ω) of the last stage's input, against yaw, one line for each channel."""
    from matplotlib.figure import Figure

    if not network.config.has_excitation:
        raise ValueError(f"variant {network.config.variant!r} has no excitation to draw")
    stage = max(0, network.config.stages - 2)
    indices = np.linspace(0, len(database) - 1, min(limit, len(database))).round().astype(int)
    poses, values = [], []
    for start in range(0, len(indices), 16):
        crops = np.stack([crop_face(database[int(i)], resolution).image for i in indices[start : start + 16]])
        prediction = network.eval()(torch.from_numpy(crops).float() / 255, all_stages=True)
        assert prediction.stages is not None and prediction.stages[stage].pose is not None
        pose = prediction.stages[stage].pose
        poses.append(pose[:, 0].numpy())
        values.append(network.excitation(stage, pose / 90.0, pose).numpy())
    yaw, excitation = np.concatenate(poses), np.concatenate(values)
    width = network.config.width
    parts = {"I": slice(0, 1), "I⊙Φ": slice(1, 2), "H": slice(2, 2 + width), "H⊙Φ": slice(2 + width, 2 + 2 * width)}
    figure = Figure(figsize=(10, 3), layout="constrained")
    order = np.argsort(yaw)
    for axis, (name, part) in zip(figure.subplots(1, 4, sharey=True), parts.items(), strict=True):
        axis.plot(yaw[order], excitation[order, part], linewidth=0.8)
        axis.set(title=name, xlabel="yaw °", ylim=(0, 1))
    figure.suptitle(f"excitation after stage {stage + 1}")
    figure.savefig(path, dpi=120)
