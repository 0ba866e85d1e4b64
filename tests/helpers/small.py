"""Small networks with settled batch-norm statistics, shared by the tests of the rooms above the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from acdc_fast import ACDC, ACDCConfig
from acdc_fast.readout import head_pose, visibility
from acdc_fast.readout.head_pose import Readout
from acdc_fast.readout.refinement import COMPONENTS, Refinement, terms_of
from acdc_fast.weights import Weights


def small_network(seed: int = 0, **fields: Any) -> ACDC:
    """Random weights. Running statistics and affine parts of batch norm are random too, so each has an effect."""
    torch.manual_seed(seed)
    network = ACDC(ACDCConfig(**{"width": 8, "stages": 3, **fields}))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            with torch.no_grad():
                module.weight.uniform_(0.7, 1.3)
                module.bias.normal_(0, 0.1)
    return network.eval()


def arrays_of(network: ACDC) -> dict[str, np.ndarray]:
    return {k: v.numpy().copy() for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}


def small_weights(seed: int = 0, **fields: Any) -> Weights:
    network = small_network(seed, **fields)
    return Weights(network.config, arrays_of(network))


def fitted(weights: Weights) -> tuple[Refinement, Readout]:
    """A refinement and a readout of small numbers in the right shapes."""
    points = weights.config.points
    width = 2 * sum(points.values())
    count = min(COMPONENTS, width)
    rng = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return rng.normal(0, 1e-3, shape).astype(np.float32)

    numbers = {m: some(terms_of(count), 2 * n) for m, n in points.items()}
    refinement = Refinement(some(width), some(count, width), numbers)
    solid = 2 * points["3d68"]
    return refinement, Readout(some(solid), some(head_pose.COMPONENTS, solid), some(head_pose.TERMS, 3))


def sighted(weights: Weights) -> visibility.Visibility:
    """Numbers of the right shapes that tell points and faces apart."""
    count = visibility.terms_of(sum(weights.config.points.values()))
    numbers = np.random.default_rng(1).normal(0, 0.05, (count, 2 * 68)).astype(np.float32)
    return visibility.Visibility({"2d68": numbers}, np.array([0.5, 1.0, -0.5], np.float32))
