"""Chooses the backend for an op: by name, by ACDC_BACKEND, or the fastest that can run it.

A backend's module is imported at its first use. The reason of a failed import is kept for the error message. The
contract between ops and backends is docs/reference/op-contract.md.
"""

from __future__ import annotations

import importlib
import os
import warnings
from functools import cache
from types import ModuleType
from typing import Any, cast

import torch

from ..errors import BackendUnavailable

BACKENDS = ("auto", "reference", "native", "triton", "cuda")

#: Module of each backend. It has `why_not`, and the ops' providers as attributes or submodules.
_MODULES = {"native": "acdc_fast.ops.native", "triton": "acdc_fast.kernels", "cuda": "acdc_fast.ops.cuda"}
_REMEDIES = {
    "native": "build it with `pip install -e .` in the repository (needs a C++17 compiler)",
    "triton": "pip install 'acdc-fast[torch]' with a torch build that brings Triton",
    "cuda": "pip install 'acdc-fast[cuda13]' (or cuda12), on a machine with an NVIDIA driver",
}
#: The order in which "auto" tries backends on each type of device, fastest first. The reference runs everywhere.
_PREFERENCE = {"cpu": ("native",), "cuda": ("triton", "cuda")}


@cache
def _load(name: str) -> ModuleType | str:
    """The module called ``name``, or the reason why it cannot be imported."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        if not missing:  # it is there but broken; "auto" would hide that
            warnings.warn(f"{name} cannot be imported: {error}", RuntimeWarning, stacklevel=3)
        return f"{type(error).__name__}: {error}"


def why_not(backend: str, op: str, device: str, dtype: torch.dtype) -> str | None:
    """Why ``backend`` cannot run ``op`` on this type of device and dtype, with the remedy. None if it can."""
    if backend == "reference":
        return None
    module = _load(_MODULES[backend])
    if isinstance(module, str):
        return f"{module}; {_REMEDIES[backend]}"
    reason: str | None = module.why_not(device, dtype)
    if reason is None and backend == "triton":
        submodule = _load(f"{_MODULES[backend]}.{op}")
        reason = submodule if isinstance(submodule, str) else None
    elif reason is None and not hasattr(module, op):
        reason = f"it has no {op}; use backend='auto'"
    return reason


def choose(op: str, backend: str | None, device: str, dtype: torch.dtype) -> str:
    """Name of the backend that will run ``op``.

    Raises ``ValueError`` for an unknown name and `BackendUnavailable` for a backend that cannot run it.
    """
    name, source = backend, f"backend={backend!r}"
    if name is None:
        name = os.environ.get("ACDC_BACKEND") or "auto"
        source = f"ACDC_BACKEND={name}"
    if name not in BACKENDS:
        raise ValueError(f"{source}: unknown backend; known: {', '.join(BACKENDS)}")
    if name == "auto":
        able = (b for b in _PREFERENCE.get(device, ()) if why_not(b, op, device, dtype) is None)
        return next(able, "reference")
    reason = why_not(name, op, device, dtype)
    if reason is not None:
        raise BackendUnavailable(f"{source} cannot serve {op} on {device} tensors of {dtype}: {reason}")
    return name


# The same as torch.compiler.assume_constant_result, without its import of torch._dynamo, which takes seconds.
choose._dynamo_marked_constant = True  # type: ignore[attr-defined]


def provider(backend: str, op: str) -> Any:
    """The object with `forward` and `backward` of ``op``. ``backend`` comes from `choose`."""
    if backend == "triton":
        return cast(Any, _load(f"{_MODULES[backend]}.{op}"))
    return getattr(_load(_MODULES[backend]), op)


def report() -> dict[str, str]:
    """For each backend "available" or the reason why not, on this machine. For `acdc_fast.env_report`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    out = {}
    for name in BACKENDS[1:]:
        where = "cpu" if name == "native" else device
        out[name] = why_not(name, "spatial_softmax", where, torch.float32) or "available"
    return out
