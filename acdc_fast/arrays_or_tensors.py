"""Crops that a caller gives, as numpy arrays or as torch tensors. Never imports torch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import check_crops, check_values
from .errors import InputError

if TYPE_CHECKING:
    from .engines import Engine


def check_given(crops: Any, unit: int = 8) -> None:
    """Raises `InputError` unless they are an array or a dense tensor (B, 1, S, S) of floating point values in [0, 1]; S
    is a multiple of ``unit``, the config's ``crop_unit``, from four of them."""
    torch = _torch_of(crops)
    if torch is None and not isinstance(crops, np.ndarray):
        raise InputError(f"crops are a numpy array or a torch tensor, not {type(crops).__name__}")
    check_crops(crops.shape, crops.is_floating_point() if torch else crops.dtype.kind == "f", unit)
    if torch and (crops.is_meta or crops.layout != torch.strided):
        raise InputError("crops are a dense tensor with values, not a meta or a sparse one")
    if len(crops):
        check_values(*_extremes(crops))


def for_engine(crops: Any, engine: Engine) -> Any:
    """The crops as this engine takes them: tensors without gradients, or arrays."""
    if _torch_of(crops) is None:
        return crops
    return crops.detach() if engine.takes_tensors else crops.detach().cpu().float().numpy()


def as_given(result: Any, crops: Any) -> Any:
    """An engine's array or tensor, as a tensor on the crops' device where these are a tensor."""
    torch = _torch_of(crops)
    return torch.from_numpy(result).to(crops.device) if torch and isinstance(result, np.ndarray) else result


def blank(crops: Any) -> Any:
    """One crop (1, 1, S, S) of zeros, of the same kind."""
    shape = (1, *crops.shape[1:])
    return np.zeros(shape, np.float32) if isinstance(crops, np.ndarray) else crops.new_zeros(shape)


def _extremes(crops: Any) -> tuple[np.ndarray, np.ndarray]:
    """(B,) least and greatest value of each crop."""
    if isinstance(crops, np.ndarray):
        return crops.min((1, 2, 3)), crops.max((1, 2, 3))
    low, high = crops.detach().flatten(1).aminmax(dim=1)
    return low.float().cpu().numpy(), high.float().cpu().numpy()


def _torch_of(value: Any) -> Any:
    """The torch module where ``value`` is a tensor, else None."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(value, torch.Tensor) else None
