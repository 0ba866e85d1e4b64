"""A cascade grown from one stage first gives that stage's results after every stage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from acdc_fast import ACDC, ACDCConfig
from acdc_fast.network_arrays import check_arrays, state_shapes
from acdc_fast.training.loop.growing import grow


@pytest.mark.parametrize("variant", ["ac-dc", "ac+pose"])
def test_new_stages_repeat_the_last(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACDC_BACKEND", "reference")
    torch.manual_seed(0)
    small = ACDCConfig(width=4, stages=1, variant="ac+pose", markups=("2d5", "3d68"))
    wanted = ACDCConfig(width=4, stages=3, variant=variant, markups=("2d5", "3d68"))  # type: ignore[arg-type]
    first = ACDC(small).double().eval()
    arrays = {n: v.float().numpy() for n, v in first.state_dict().items() if v.is_floating_point()}
    grown = check_arrays(wanted, grow(arrays, small, wanted), "grown")  # every array there, of the right shape
    network = ACDC(wanted).double().eval()
    network.load_state_dict({n: torch.from_numpy(v).double() for n, v in grown.items()}, strict=False)
    first.load_state_dict({n: torch.from_numpy(v).double() for n, v in arrays.items()}, strict=False)
    crops = torch.rand(2, 1, 32, 32, dtype=torch.float64)
    before, after = first(crops), network(crops, all_stages=True)
    assert after.stages is not None and len(after.stages) == 3
    for stage in after.stages:
        for markup in small.order:
            assert np.abs((stage.landmarks[markup] - before.landmarks[markup]).detach().numpy()).max() < 1e-6
        assert torch.allclose(stage.pose, before.pose, atol=1e-4)
    network.train()(crops).landmarks["2d5"].sum().backward()
    assert network.unets[2].stem.weight.grad.abs().sum((0, 2, 3)).min() > 0  # every input is learnt from


def test_a_new_stage_sees_the_mean_of_each_patch() -> None:
    small = ACDCConfig(width=4, stages=1, variant="ac+pose", markups=("2d5", "3d68"), patch=2)
    wanted = replace(small, stages=2)
    arrays = {n: np.random.default_rng(0).random(s, np.float32) for n, s in state_shapes(small).items()}
    stem = check_arrays(wanted, grow(arrays, small, wanted), "grown")["unets.1.stem.weight"][..., 0, 0]
    np.testing.assert_allclose(stem[:, 0], arrays["unets.0.stem.weight"].sum((1, 2, 3)), rtol=1e-6)
    assert not stem[:, 1:].any()


def test_from_two_to_four_stages_the_last_is_copied() -> None:
    """With its excitation; what was trained stays."""
    small, wanted = (ACDCConfig(width=4, stages=n, markups=("2d5", "3d68")) for n in (2, 4))
    rng = np.random.default_rng(0)
    arrays = {n: rng.uniform(0.1, 1, s).astype(np.float32) for n, s in state_shapes(small).items()}
    grown = check_arrays(wanted, grow(arrays, small, wanted), "grown")
    for name, value in arrays.items():
        np.testing.assert_array_equal(grown[name], value)
        for stage in (2, 3):
            copied = name.replace("unets.1.", f"unets.{stage}.").replace("excite.0.", f"excite.{stage - 1}.")
            np.testing.assert_array_equal(grown[copied], value)
    assert {n.split(".")[1] for n in grown if n.startswith("unets.")} == set("0123")
    assert {n.split(".")[1] for n in grown if n.startswith("excite.")} == set("012")


@pytest.mark.parametrize(("trained", "stages"), [(1, 1), (1, 3), (2, 2)])
def test_wider_networks_say_the_same(trained: int, stages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three channels for each of the narrow network's, in every layer, and no two of them learn alike."""
    monkeypatch.setenv("ACDC_BACKEND", "reference")
    torch.manual_seed(0)
    markups = ("2d68", "2d5", "3d68")
    small = ACDCConfig(width=4, stages=trained, markups=markups)
    wanted = ACDCConfig(width=12, stages=stages, markups=markups)
    narrow, wide = ACDC(small).double().eval(), ACDC(wanted).double().eval()
    for module in narrow.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    arrays = {n: v.float().numpy() for n, v in narrow.state_dict().items() if v.is_floating_point()}
    grown = check_arrays(wanted, grow(arrays, small, wanted), "grown")
    for network, values in ((narrow, arrays), (wide, grown)):
        network.load_state_dict({n: torch.from_numpy(v).double() for n, v in values.items()}, strict=False)
    crops = torch.rand(2, 1, 32, 32, dtype=torch.float64)
    before, after = narrow(crops), wide(crops)
    for markup in small.order:
        assert (after.landmarks[markup] - before.landmarks[markup]).abs().max() < 1e-6
    assert torch.allclose(after.pose, before.pose, atol=1e-4)
    wide.train()(crops).landmarks["2d68"].square().sum().backward()
    gradient = wide.unets[-1].encode2[0].weight.grad
    assert (gradient[::3] - gradient[1::3]).norm() > 0.01 * gradient[::3].norm() > 0


def test_other_widths_are_left_alone() -> None:
    small, wide = ACDCConfig(width=8, stages=1), ACDCConfig(width=12, stages=2)
    assert grow({"a": np.zeros(1)}, small, wide).keys() == {"a"}
    shallow = ACDCConfig(width=16, stages=1)
    assert grow({"a": np.zeros(1)}, ACDCConfig(width=8, stages=2), shallow).keys() == {"a"}
