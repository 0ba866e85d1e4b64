"""The optimiser of a run: Adam as in the paper, or Muon for the convolutions with Adam for the rest (ours).

Muon (Jordan et al. 2024) replaces the momentum of a weight matrix by the nearest matrix whose singular values are all
about 1, which spends a step on all directions alike. A convolution is the matrix (outputs, inputs · 9).
PyTorch's own Muon works in bfloat16, matrix by matrix: on a CPU without bf16 instructions it took half as long as
forward and backward together. Here matrices of one shape go together, in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

from acdc_fast.errors import InputError
from acdc_fast.network import ACDC

from ..settings import Optimiser

#: Of the odd polynomial that drives every singular value in (0, 1] into about [0.7, 1.2] (Jordan et al. 2024).
QUINTIC, STEPS = (3.4445, -4.7750, 2.0315), 5
MOMENTUM = 0.95
#: Root mean square of a step's entries over the rate: that of Adam's (Liu et al. 2025).
SCALE = 0.2


class Optimisers:
    """Adam, with Muon beside it where the settings have a rate for it, behind one interface.

    The rates are tensors on a GPU, so that a recorded `step` follows the schedule.
    """

    def __init__(self, network: ACDC, settings: Optimiser) -> None:
        self.settings = settings
        kernels = [p for p in network.unets.parameters() if p.dim() == 4] if settings.muon_rate else []
        taken = {id(p) for p in kernels}
        self.parameters = list(network.parameters())
        others = [p for p in self.parameters if id(p) not in taken]
        device = self.parameters[0].device
        self.rates = torch.tensor([settings.rate, settings.muon_rate or 0.0], device=device)
        on_gpu = device.type == "cuda"
        betas, rate = (settings.beta1, settings.beta2), self.rates[0] if on_gpu else settings.rate
        self.adam = Adam(others, lr=rate, betas=betas, fused=True, capturable=on_gpu)
        shapes = list(dict.fromkeys(p.shape for p in kernels))
        self.groups: list[list[Tensor]] = [[p for p in kernels if p.shape == shape] for shape in shapes]
        self.momenta = [torch.zeros(len(g), g[0].shape[0], g[0][0].numel(), device=g[0].device) for g in self.groups]

    def schedule(self, scale: float) -> None:
        """Sets the rates for the next steps. ``scale``: of the settings' rates, 0 to 1."""
        rates = (scale * self.settings.rate, scale * (self.settings.muon_rate or 0.0))
        for place, rate in zip(self.rates, rates, strict=True):
            place.fill_(rate)
        for group in self.adam.param_groups:
            group["lr"] = self.rates[0] if self.rates.is_cuda else rates[0]

    @torch.no_grad()
    def step(self) -> None:
        """One step along the gradients that the network holds."""
        self.adam.step()
        for kernels, momentum in zip(self.groups, self.momenta, strict=True):
            gradients = torch.stack([torch.zeros_like(p) if p.grad is None else p.grad for p in kernels])
            gradients = gradients.flatten(2)
            momentum.lerp_(gradients, 1 - MOMENTUM)
            step = orthogonal(gradients.lerp(momentum, MOMENTUM))
            step = step * (self.rates[1] * SCALE * max(step.shape[1:]) ** 0.5)
            torch._foreach_sub_(kernels, [change.view_as(p) for p, change in zip(kernels, step, strict=True)])

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "muon": self.momenta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises `InputError` where the state is that of other optimisers."""
        if "muon" not in state or [m.shape for m in state["muon"]] != [m.shape for m in self.momenta]:
            raise InputError("the checkpoint is of other optimisers: has optimiser.muon_rate changed?")
        self.adam.load_state_dict(state["adam"])
        for group in self.adam.param_groups:  # of the device that the state comes from
            group["capturable"] = self.rates.is_cuda
        for momentum, stored in zip(self.momenta, state["muon"], strict=True):
            momentum.copy_(stored)


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, m, n) → the same with every singular value about 1, by Newton and Schulz's iteration.

    The iteration X ← (a + b·G + c·G²)·X with G = X·Xᵀ is done on the small square G alone: it and the product of all
    the polynomials commute.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.mT).mT
    a, b, c = QUINTIC
    x = matrices / matrices.flatten(1).norm(dim=1).clamp_min(1e-7)[:, None, None]
    gram = x @ x.mT
    product = torch.eye(gram.shape[1], device=gram.device).expand_as(gram)
    for _ in range(STEPS):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        product = polynomial @ product
        gram = polynomial @ gram @ polynomial
    whole: Tensor = product @ x
    return whole
