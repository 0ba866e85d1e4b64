"""Exponential moving average of a network's weights and batch-norm statistics."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """``average ← decay · average + (1 − decay) · network``, with the decay ramped up over the first updates.

    The ramp, min(decay, (1 + n) / (10 + n)) after n updates, lets the average forget the random start.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, count: int) -> None:
        """``count``: updates done so far."""
        decay = min(self.decay, (1 + count) / (10 + count))
        ours, theirs = self.network.state_dict(), network.state_dict()
        floats = [name for name, value in ours.items() if value.is_floating_point()]
        torch._foreach_lerp_([ours[n] for n in floats], [theirs[n] for n in floats], 1 - decay)
        for name in ours.keys() - set(floats):
            ours[name].copy_(theirs[name])
