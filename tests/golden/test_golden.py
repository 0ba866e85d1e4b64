"""What this release computes, kept: a change of any number is seen, and is made on purpose or not at all.

`python tests/golden/test_golden.py` records the answers of every file of packaged weights anew, after weights or the
readout have changed on purpose. Crops and boxes are given, so that no detector takes part.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER.parent))

from helpers.paths import PHOTO  # noqa: E402

from acdc_fast import Model  # noqa: E402
from acdc_fast.weights import bundled  # noqa: E402

#: The photograph's face: the box as a detector gives it, and one that is too large and lies to one side.
BOXES = [[178.0, 63.0, 267.0, 174.0], [160.0, 50.0, 290.0, 190.0]]
#: Tolerances of the contract, because instruction sets add in different orders. Seen: scalar and AVX2 code lie within
#: 3e-6 crop units and 1e-4 degrees of AVX-512 code.
CROP_UNITS, DEGREES = 2e-5, 0.01
#: Largest side of a crop, pixels of the photograph.
SIDE = 200.0


def answers(name: str) -> dict[str, np.ndarray]:
    """All results of one weights file for two boxes and for two crops of noise."""
    model = Model.from_pretrained(name, backend="native", threads=1)
    faces = model.align(PHOTO, boxes=BOXES)
    found = {f"faces/landmarks/{m}": points for m, points in faces.landmarks.items()}
    found |= {f"faces/spread/{m}": values for m, values in faces.spread.items()}
    found |= {f"faces/confidence/{m}": values for m, values in faces.confidence.items()}
    found |= {f"faces/visible/{m}": values for m, values in faces.visible.items()}
    if faces.pose is not None:
        found["faces/pose"] = np.stack([faces.pose.yaw, faces.pose.pitch, faces.pose.roll], 1)
    noise = np.random.default_rng(0).random((2, 1, 64, 64), np.float32)
    prediction = model(noise)
    found |= {f"crops/landmarks/{m}": points for m, points in prediction.landmarks.items()}
    found |= {f"crops/covariance/{m}": moments for m, moments in prediction.covariance.items()}
    return found | {"crops/pose": prediction.pose, "crops/mask": prediction.mask}


def tolerance(field: str) -> float:
    if field.endswith("pose"):
        return DEGREES
    if "confidence" in field:
        return 1e-4  # it moves by a spread's relative difference, 1e-5, times a slope of at most 5
    if "visible" in field:
        return 3e-4  # logarithms of 239 spreads, each 1e-5 apart, times slopes that together come to ten, times ¼
    if "mask" in field:
        return 3e-4  # exp of logits of up to 30 that differ in the last bits of float32: 30 · 2⁻²⁴ · some ten additions
    return CROP_UNITS * (SIDE if field.startswith("faces") else 1)


@pytest.mark.parametrize("name", bundled())
def test_answers_of_the_packaged_weights(name: str) -> None:
    with np.load(FOLDER / f"{name}.npz") as file:
        kept = dict(file)
    found = answers(name)
    assert set(found) == set(kept)
    for field, values in found.items():
        assert values.shape == kept[field].shape, field
        apart = np.abs(values.astype(np.float64) - kept[field]).max()
        assert apart <= tolerance(field), f"{field}: {apart:.2e} apart, {tolerance(field):.1e} at most"


def training_step() -> dict[str, np.ndarray]:
    """The weights of a small network after two updates; network and labels come from one seed."""
    torch = pytest.importorskip("torch", reason="torch is not installed: it trains")
    from helpers.small import small_network

    from acdc_fast.training.loop.losses import cascade_loss
    from acdc_fast.training.sampling.targets import Targets

    network, generator = small_network(3, stages=2).train(), torch.Generator().manual_seed(4)
    crops = torch.rand(4, 1, 32, 32, generator=generator)
    landmarks = {m: torch.rand(4, n, 2, generator=generator) for m, n in network.config.points.items()}
    pose = 30 * torch.randn(4, 3, generator=generator)
    optimiser = torch.optim.SGD(network.parameters(), 0.01)
    for _ in range(2):
        optimiser.zero_grad()
        loss, _ = cascade_loss(network(crops, all_stages=True), Targets(landmarks, {}, pose), spread_weight=0.1)
        loss.backward()
        optimiser.step()
    wanted = ("gtn.transfer.2d68", "gtn.pose.weight", "unets.0.stem.weight", "unets.1.encode1.1.weight")
    state = network.state_dict()
    return {name: state[name].numpy().copy() for name in wanted} | {"loss": np.array(loss.item())}


def test_two_updates_from_a_seed() -> None:
    pytest.importorskip("torch", reason="torch is not installed: it trains")
    with np.load(FOLDER / "training.npz") as kept:
        for name, values in training_step().items():
            # Plain gradient descent: differences of order 1e-7 in a gradient stay that small.
            assert values == pytest.approx(kept[name], rel=1e-4, abs=1e-5), name


def test_golden_answers_are_not_all_the_same() -> None:
    """The comparison can fail: another box is further away than any tolerance."""
    with np.load(FOLDER / f"{next(iter(bundled()))}.npz") as kept:
        points = kept["faces/landmarks/2d68"]
        assert np.abs(points[0] - points[1]).max() > tolerance("faces/landmarks/2d68")


if __name__ == "__main__":
    for weights in bundled():
        np.savez_compressed(FOLDER / f"{weights}.npz", **answers(weights))
    np.savez_compressed(FOLDER / "training.npz", **training_step())
