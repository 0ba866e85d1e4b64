"""Muon beside Adam: what a step is, and that it does not depend on the layout of memory."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from acdc_fast.config import ACDCConfig
from acdc_fast.errors import InputError
from acdc_fast.network import ACDC
from acdc_fast.training.loop.optimisers import Optimisers, orthogonal
from acdc_fast.training.settings import Optimiser

SHAPES = [(3, 16, 144), (1, 16, 1), (2, 7, 63), (1, 63, 7), (4, 1, 1)]


def network() -> ACDC:
    torch.manual_seed(0)
    return ACDC(ACDCConfig(width=4, stages=2, markups=("2d5",), variant="ac"))


def give_gradients(model: ACDC) -> None:
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def newton_schulz(matrix: Tensor) -> Tensor:
    """The published iteration, on the matrix itself, in float64."""
    x = matrix.double() / matrix.double().norm()
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_is_the_published_iteration(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    ours = orthogonal(matrices)
    for one, matrix in zip(ours, matrices, strict=True):
        wide = matrix if shape[1] <= shape[2] else matrix.mT
        wanted = newton_schulz(wide) if shape[1] <= shape[2] else newton_schulz(wide).mT
        # five steps, each of slope at most 3.4, amplify float32's 6e-8 by up to 3.4⁵ ≈ 460
        torch.testing.assert_close(one.double(), wanted, rtol=0, atol=3e-5)
        least, most = torch.linalg.svdvals(one).aminmax()
        assert least > 0.5 and most < 1.3


def test_orthogonal_of_nothing_is_nothing() -> None:
    assert torch.equal(orthogonal(torch.zeros(2, 3, 5)), torch.zeros(2, 3, 5))


def test_a_step_has_the_size_that_its_rate_says() -> None:
    model = network()
    before = copy.deepcopy(model)
    give_gradients(model)
    optimisers = Optimisers(model, Optimiser(rate=1e-3, muon_rate=1e-2))
    optimisers.schedule(0.5)
    optimisers.step()
    for (name, new), old in zip(model.named_parameters(), before.parameters(), strict=True):
        rms = (new - old).detach().pow(2).mean().sqrt().item()
        if name.startswith("unets") and new.dim() == 4:  # 0.5 · 1e-2 · 0.2, times singular values of 0.5 to 1.3
            assert 0.5e-3 < rms < 1.3e-3, name
        else:  # Adam's first step is its rate in every entry
            assert rms == pytest.approx(0.5e-3, rel=1e-3), name


def test_layout_of_memory_changes_nothing() -> None:
    plain, last = network(), network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for model in (plain, last):
        optimisers = Optimisers(model, Optimiser(muon_rate=1e-2))
        for _ in range(2):
            give_gradients(model)
            optimisers.schedule(1.0)
            optimisers.step()
    for a, b in zip(plain.parameters(), last.parameters(), strict=True):
        assert torch.equal(a, b)


def test_without_a_rate_all_goes_to_adam() -> None:
    ours, theirs = network(), network()
    optimisers = Optimisers(ours, Optimiser(rate=1e-2))
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-2)
    for model, step in ((ours, optimisers.step), (theirs, adam.step)):
        give_gradients(model)
        step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)  # a fused loop and a plain one


def test_a_checkpoint_of_other_optimisers_is_refused() -> None:
    with_muon, without = Optimisers(network(), Optimiser(muon_rate=1e-2)), Optimisers(network(), Optimiser())
    with pytest.raises(InputError, match="muon_rate"):
        with_muon.load_state_dict(without.state_dict())
    with pytest.raises(InputError, match="muon_rate"):
        without.load_state_dict(torch.optim.Adam(network().parameters()).state_dict())


def test_a_checkpoint_of_a_gpu_goes_on_without_one() -> None:
    """There the rate is a tensor and the step may be recorded: choices of that device, not of the run."""
    ours, theirs = (Optimisers(network(), Optimiser(rate=1e-2, muon_rate=1e-2)) for _ in range(2))
    stored = theirs.state_dict()
    for group in stored["adam"]["param_groups"]:
        group |= {"capturable": True, "lr": torch.tensor(5e-3)}
    ours.load_state_dict(stored)
    ours.schedule(0.5)
    assert all(not group["capturable"] and group["lr"] == 5e-3 for group in ours.adam.param_groups)
