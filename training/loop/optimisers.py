"""The optimiser of a run: Adam as in the paper, or Muon for the convolutions with Adam for the rest (ours).

Muon (Jordan et al. 2024) replaces the momentum of a weight matrix by the nearest matrix with all singular values about
1. So a step goes equally far in all directions. A convolution is the matrix (outputs, inputs · 9). PyTorch's own Muon
works in bfloat16, one matrix at a time. On a CPU without bf16 instructions it took half as long as forward and backward
together. Here all matrices of one shape are computed together, in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

from acdc_fast.errors import InputError
from acdc_fast.network import ACDC

from ..settings import Optimiser

#: Coefficients of the odd polynomial that moves all singular values in (0, 1] to about [0.7, 1.2] (Jordan et al. 2024).
QUINTIC, STEPS = (3.4445, -4.7750, 2.0315), 5
MOMENTUM = 0.95
#: Root mean square of a step's entries divided by the rate, chosen like Adam's (Liu et al. 2025).
SCALE = 0.2


class Optimisers:
    """Adam, and Muon if the settings have a rate for it, behind one interface.

    On a GPU the rates are tensors, so that a recorded `step` follows the schedule.
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
        """Sets the rates for the next steps. ``scale``: 0 to 1, multiplies the settings' rates."""
        rates = (scale * self.settings.rate, scale * (self.settings.muon_rate or 0.0))
        for place, rate in zip(self.rates, rates, strict=True):
            place.fill_(rate)
        for group in self.adam.param_groups:
            group["lr"] = self.rates[0] if self.rates.is_cuda else rates[0]

    @torch.no_grad()
    def step(self) -> None:
        """One step with the gradients that the network holds."""
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
        """Raises `InputError` if the state is from other optimisers."""
        if "muon" not in state or [m.shape for m in state["muon"]] != [m.shape for m in self.momenta]:
            raise InputError("the checkpoint comes from other optimisers: has optimiser.muon_rate changed?")
        self.adam.load_state_dict(state["adam"])
        for group in self.adam.param_groups:  # the state may come from another kind of device
            group["capturable"] = self.rates.is_cuda
        for momentum, stored in zip(self.momenta, state["muon"], strict=True):
            momentum.copy_(stored)


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, m, n) → the same with every singular value about 1, by the Newton-Schulz iteration.

    The iteration is X ← (a + b·G + c·G²)·X with G = X·Xᵀ. Polynomials of G commute, so it runs on the small square G
    alone, and their product is applied to X once.
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
