"""The eager network against the equations written once more with plain loops, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.loops import acdc, mask, moments

from acdc_fast import ACDC, ACDCConfig
from acdc_fast.ops import reference

VARIANTS = [
    ("ac-dc", ("2d98", "2d68", "2d5", "3d68"), 2, 1),
    ("ac+pose", ("2d68", "3d68"), 2, 1),
    ("ac", ("2d68", "2d5"), 2, 1),  # DeCaFA: the 2D stream alone
    ("ac-dc", ("3d68",), 1, 1),
    ("ac-dc", ("2d5", "3d68"), 2, 3),
]


@pytest.fixture(autouse=True)
def reference_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth is the reference in float64, even if a faster backend is installed."""
    monkeypatch.setenv("ACDC_BACKEND", "reference")


def lively(config: ACDCConfig, seed: int) -> ACDC:
    """A network in float64 whose every parameter and statistic matters: no zeros, no ones, maps far from uniform."""
    torch.manual_seed(seed)
    net = ACDC(config).double().eval()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point() and ".1." in name:
                value.copy_(torch.rand_like(value) + 0.5)
            elif name.endswith(".0.weight"):
                value.mul_(2.5)  # keeps activations near one through the depth of the cascade
            elif name == "unets.0.stem.weight":
                value.mul_(2 * config.patch - 1)  # a sum over a patch of noise is small
            elif "transfer" in name:
                value.mul_(4)
            elif "pose.weight" in name:
                value.copy_(torch.randn_like(value) * 0.3)
    return net


def run_loops(net: ACDC, crop: np.ndarray) -> list[dict[str, np.ndarray]]:
    params = {name: value.numpy() for name, value in net.state_dict().items()}
    c = net.config
    return acdc(crop, params, c.stages, list(c.chain), list(c.solid), c.variant)


@pytest.mark.parametrize(("variant", "markups", "stages", "patch"), VARIANTS)
def test_values_agree_with_the_loops(variant: str, markups: tuple[str, ...], stages: int, patch: int) -> None:
    net = lively(ACDCConfig(width=4, stages=stages, variant=variant, markups=markups, patch=patch), seed=3)
    crop = np.random.default_rng(5).random((32 * patch, 32 * patch))
    expected = run_loops(net, crop)
    with torch.no_grad():
        got = net(torch.from_numpy(crop)[None, None], all_stages=True)
    assert got.stages is not None and len(got.stages) == stages == len(expected)
    for ours, theirs in zip(got.stages, expected, strict=True):
        for name, part in net.config.slices.items():
            np.testing.assert_allclose(ours.landmarks[name][0], theirs["mean"][part], rtol=0, atol=1e-12)
            np.testing.assert_allclose(ours.covariance[name][0], theirs["covariance"][part], rtol=0, atol=1e-12)
        np.testing.assert_allclose(ours.mask[0, 0], theirs["mask"], rtol=0, atol=1e-10)
        if variant == "ac":
            assert ours.pose is None
        else:
            np.testing.assert_allclose(ours.pose[0], theirs["pose"], rtol=0, atol=1e-9)
    spread = got.stages[0].landmarks[markups[0]][0]
    assert spread.std() > 1e-3, "the maps must differ, or this test compares constants"


def test_gradients_agree_with_the_loops() -> None:
    """Directional derivatives of a random projection of the outputs: autograd against differences of the loops."""
    net = lively(ACDCConfig(width=4, stages=2, markups=("2d5", "3d68")), seed=7)
    rng = np.random.default_rng(11)
    crop = rng.random((32, 32))
    projections = [rng.normal(size=(73, 2)), rng.normal(size=(73, 3)), rng.normal(size=3) / 90]

    def loops_loss() -> float:
        return sum(
            float((r["mean"] * projections[0]).sum() + (r["covariance"] * projections[1]).sum())
            + float((r["pose"] * projections[2]).sum())
            for r in run_loops(net, crop)
        )

    a, b, c = (torch.from_numpy(p) for p in projections)
    got = net(torch.from_numpy(crop)[None, None], all_stages=True)
    assert got.stages is not None
    loss = torch.zeros((), dtype=torch.float64)
    for stage in got.stages:
        means = torch.cat([stage.landmarks[n] for n in net.config.order], 1)[0]
        covariances = torch.cat([stage.covariance[n] for n in net.config.order], 1)[0]
        loss = loss + (means * a).sum() + (covariances * b).sum() + (stage.pose[0] * c).sum()
    loss.backward()
    assert abs(float(loss.detach()) - loops_loss()) < 1e-9

    step = 1e-6
    for name, parameter in net.named_parameters():
        if not any(key in name for key in ("1.stem", "excite", "gtn", "unets.0.decode1.0", "unets.1.down2.1")):
            continue  # a sample of every kind of layer on both sides of the fusion keeps this at seconds
        direction = torch.randn_like(parameter)
        expected = float((parameter.grad * direction).sum())
        with torch.no_grad():
            parameter.add_(direction, alpha=step)
            above = loops_loss()
            parameter.add_(direction, alpha=-2 * step)
            below = loops_loss()
            parameter.add_(direction, alpha=step)
        # Central differences err by step² and by rounding / step: both near 1e-9 here; ReLU kinks add a little.
        assert (above - below) / (2 * step) == pytest.approx(expected, rel=2e-4, abs=2e-7), name


def test_reference_ops_on_extreme_maps() -> None:
    rng = np.random.default_rng(2)
    maps = np.stack([rng.normal(size=(7, 9)) * 30, np.full((7, 9), 4.0), np.full((7, 9), -800.0)])
    maps[2, 3, 4] = 700.0  # one-hot to the last bit
    logits = torch.from_numpy(maps)[None]
    result = reference.spatial_softmax(logits)
    for i, g in enumerate(maps):
        mean, covariance = moments(g)
        np.testing.assert_allclose(result.mean[0, i], mean, atol=1e-12)
        np.testing.assert_allclose(result.covariance[0, i], covariance, atol=1e-12)
    np.testing.assert_allclose(reference.attention_mask(logits)[0, 0], mask(maps), atol=1e-12)
    constant = reference.attention_mask(logits[:, 1:2])
    assert torch.equal(constant, torch.zeros(1, 1, 7, 9, dtype=torch.float64))


@pytest.mark.parametrize(("width", "million"), [(64, 9.49), (32, 2.38), (16, 0.60)])
def test_parameter_count(width: int, million: float) -> None:
    with torch.device("meta"):
        net = ACDC(ACDCConfig(width=width))
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 2) == million


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 1, 64, 72), (1, 1, 60, 60), (1, 1, 24, 24), (64, 64)])
def test_bad_crops_are_named(shape: tuple[int, ...]) -> None:
    net = ACDC(ACDCConfig(width=4, stages=1))
    with pytest.raises(ValueError, match="crops must"):
        net(torch.rand(shape))
    with pytest.raises(ValueError, match="floating point"):
        net(torch.zeros(1, 1, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match="multiple of 16 from 64, not 56×56"):
        ACDC(ACDCConfig(width=4, stages=1, patch=2))(torch.rand(1, 1, 56, 56))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"width": 6}, "width"),
        ({"stages": 0}, "stages"),
        ({"patch": 0}, "patch"),
        ({"patch": 5}, "patch"),
        ({"patch": 2.0}, "patch"),
        ({"variant": "dc"}, "variant"),
        ({"markups": ("2d5", "2d68", "3d68")}, "from the most points to the fewest"),
        ({"markups": ("2d68",)}, "3d68"),
        ({"markups": ("2d67", "3d68")}, "2d67"),
        ({"mask_markups": ("2d29",)}, "mask_markups"),
        ({"stream_fraction": 0.0}, "stream_fraction"),
    ],
)
def test_bad_config_names_the_field(fields: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        ACDCConfig(**fields)


def test_config_round_trip() -> None:
    config = ACDCConfig(width=16, stages=3, mask_markups=("2d68",))
    assert ACDCConfig.from_json(config.to_json()) == config
    assert sum(config.masked_maps) == 68 and config.maps == 239
    assert "patch" not in config.to_json()  # so older versions read it
    config = ACDCConfig(patch=2)
    assert ACDCConfig.from_json(config.to_json()) == config and config.crop_unit == 16
    with pytest.raises(ValueError, match="colour"):
        ACDCConfig.from_json('{"colour": 1}')
