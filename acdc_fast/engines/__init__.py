"""Engines run the cascade. All take the same arguments and return a `Prediction`. This file chooses one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..config import ACDCConfig
from ..errors import BackendUnavailable, InputError
from ..types import Prediction

ENGINES = ("native", "eager", "gpu")


class Engine(Protocol):
    """The interface that `Model` uses."""

    @property
    def name(self) -> str: ...

    @property
    def takes_tensors(self) -> bool:
        """Whether crops may be torch tensors (results are tensors then), or only numpy arrays."""
        ...

    def __call__(
        self,
        crops: Any,
        stages: int | None = None,
        all_stages: bool = False,
        mask: bool = True,
        enough: float = 0.0,
        markups: tuple[str, ...] | None = None,
    ) -> Prediction:
        """``enough`` > 0: a crop ends at the first stage whose maps have a mean spread (crop units) of at most it.
        ``markups``: only these are returned; the native engine computes no others, where nothing needs them."""
        ...


def make_engine(
    backend: str,
    config: ACDCConfig,
    arrays: dict[str, np.ndarray],
    threads: int | None = None,
    dtype: str = "float32",
    device: str = "auto",
) -> Engine:
    """The engine called ``backend``. "auto" takes the first of gpu (if there is one), native, eager that can run.

    Raises `BackendUnavailable` with the reason and the remedy, `InputError` for an unknown backend or device.
    """
    if backend not in ("auto", *ENGINES):
        raise InputError(f"backend must be one of auto, {', '.join(ENGINES)}, not {backend!r}")
    if device not in ("auto", "cpu") and not device.startswith("cuda"):
        raise InputError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N', not {device!r}")
    if backend != "auto":
        return _make(backend, config, arrays, threads, dtype, device)
    reasons = []
    for name in _candidates(device):
        try:
            return _make(name, config, arrays, threads, dtype, device)
        except BackendUnavailable as error:
            reasons.append(str(error))
    raise BackendUnavailable("no backend can serve. " + ". ".join(reason.rstrip(".") for reason in reasons))


def _candidates(device: str) -> tuple[str, ...]:
    if device.startswith("cuda"):
        return ("gpu", "eager")
    return ("gpu", "native", "eager") if device == "auto" and _gpu_present() else ("native", "eager")


def _gpu_present() -> bool:
    """Whether an NVIDIA or AMD driver is loaded. Cheap, so that torch is not imported on machines without a GPU."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))


def _make(
    name: str, config: ACDCConfig, arrays: dict[str, np.ndarray], threads: int | None, dtype: str, device: str
) -> Engine:
    if name == "native":
        if device.startswith("cuda"):
            raise BackendUnavailable("backend 'native' runs on the CPU: use backend='gpu' or device='cpu'")
        from .native import NativeEngine

        return NativeEngine(config, arrays, threads, dtype)
    _need_torch(name)
    if name == "eager":
        from .eager import EagerEngine

        return EagerEngine(config, arrays, threads, dtype, _torch_device(device))
    if device == "cpu":
        raise BackendUnavailable("backend 'gpu' does not run on the CPU: use backend='native' or device='cuda'")
    try:
        from .gpu import GPUEngine
    except ImportError as error:
        raise BackendUnavailable(f"backend 'gpu' cannot be loaded ({error}): pip install 'acdc-fast[torch]'") from error
    engine: Engine = GPUEngine(config, arrays, threads, dtype, "cuda" if device == "auto" else device)
    return engine


def _need_torch(name: str) -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise BackendUnavailable(f"backend {name!r} needs torch ({error}): pip install 'acdc-fast[torch]'") from error


def _torch_device(device: str) -> str:
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
