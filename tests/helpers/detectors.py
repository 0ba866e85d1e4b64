"""Detectors with random weights. Their activations neither vanish nor grow from layer to layer."""

from __future__ import annotations

import torch

from acdc_fast.detector.network import Detector


def lively_detector(seed: int) -> Detector:
    """In eval mode; normalisations and biases differ from layer to layer."""
    generator = torch.Generator().manual_seed(seed)
    network = Detector().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
                if module.bias is not None:
                    module.bias.normal_(0, 0.2, generator=generator)
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.7, 1.3, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network
