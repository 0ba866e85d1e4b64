"""Networks with lively weights: batch statistics as after training, maps far from constant."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from acdc_fast import ACDC, ACDCConfig


def lively(seed: int = 0, gain: float = 1.3, **config: Any) -> ACDC:
    torch.manual_seed(seed)
    network = ACDC(ACDCConfig(**config)).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.8, 1.6)
                module.bias.normal_(0, 0.2)
            elif isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3):
                module.weight.mul_(gain)
        # Maps with a shape: logits of the first stage spread by 2, so that a wrong value anywhere moves landmarks.
        gtn, x = network.gtn, torch.from_numpy(crops(1, 4 * network.config.crop_unit, seed))
        for chain in (network.config.chain, network.config.solid):
            for name in chain[:1]:
                logits = gtn.logits(network.unets[0](x))[:, network.config.slices[name]]
                gtn.transfer[name].mul_(2 / logits.std())
    return network


def arrays(network: ACDC) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def crops(batch: int = 2, side: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((batch, 1, side, side), dtype=np.float32)
