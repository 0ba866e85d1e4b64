"""What the engines on torch share: crops and results as tensors or arrays, and the stage at which a crop is done."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..checks import check_crops
from ..types import Prediction


def as_tensor(crops: Any, unit: int) -> tuple[torch.Tensor, torch.device | None]:
    """Crops as a tensor, and the device that they came on, None for a numpy array. Raises `InputError` for other
    shapes and types than `check_crops` knows."""
    if isinstance(crops, torch.Tensor):
        check_crops(crops.shape, crops.is_floating_point(), unit)
        return crops, crops.device
    check_crops(crops.shape, crops.dtype.kind == "f", unit)
    return torch.from_numpy(np.ascontiguousarray(crops)), None


def as_given(prediction: Prediction, device: torch.device | None, mask: bool) -> Prediction:
    """The results as tensors on ``device``, or as numpy arrays if it is None."""

    def give(tensor: torch.Tensor) -> Any:
        tensor = tensor if tensor.dtype == torch.float64 else tensor.float()
        return tensor.cpu().numpy() if device is None else tensor.to(device)

    return Prediction(
        {name: give(points) for name, points in prediction.landmarks.items()},
        {name: give(moments) for name, moments in prediction.covariance.items()},
        None if prediction.pose is None else give(prediction.pose),
        give(prediction.mask) if mask and prediction.mask is not None else None,
        prediction.stages and tuple(as_given(stage, device, mask) for stage in prediction.stages),
        prediction.depth if prediction.depth is None or device is not None else prediction.depth.cpu().numpy(),
    )


def first_enough(prediction: Prediction, enough: float) -> Prediction:
    """For each crop the first stage whose maps have a mean spread (crop units) of at most ``enough``, else the last."""
    stages = prediction.stages
    assert stages, "every stage must be there to choose from"
    mean_spreads = []
    for stage in stages:
        moments = torch.cat(list(stage.covariance.values()), 1).double()
        mean_spreads.append((moments[..., 0] + moments[..., 2]).sqrt().mean(1))
    done = torch.stack(mean_spreads) <= enough
    done[-1] = True
    depth = done.int().argmax(0)  # the first of them

    def chosen(values: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(values)[depth, torch.arange(len(depth), device=depth.device)]

    first = stages[0]
    return Prediction(
        {name: chosen([s.landmarks[name] for s in stages]) for name in first.landmarks},
        {name: chosen([s.covariance[name] for s in stages]) for name in first.covariance},
        None if first.pose is None else chosen([s.pose for s in stages if s.pose is not None]),
        None if first.mask is None else chosen([s.mask for s in stages if s.mask is not None]),
        depth=depth.int() + 1,
    )
