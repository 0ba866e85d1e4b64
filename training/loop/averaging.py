"""Exponential moving average of a network's weights and batch-norm statistics."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn


class Average:
    """``average ← decay · average + (1 − decay) · network``. The decay rises over the first updates.

    After n updates it is min(decay, (1 + n) / (10 + n)). So the average forgets the random start.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, count: int) -> None:
        """``count``: number of updates so far."""
        decay = min(self.decay, (1 + count) / (10 + count))
        pairs = list(zip(_values(self.network), _values(network), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([ours for ours, _ in floats], [theirs for _, theirs in floats], 1 - decay)
        counts = [pair for pair in pairs if not pair[0].is_floating_point()]
        torch._foreach_copy_([ours for ours, _ in counts], [theirs for _, theirs in counts])


def _values(network: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers."""
    return chain(network.parameters(), network.buffers())
