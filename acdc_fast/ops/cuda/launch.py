"""Launches CUDA kernels: from the library that nvcc built, or compiled at first use by NVRTC through CuPy.

Both hold the same kernels under the same names. `Compiled` also opens the library of the emulator, which runs them on
the CPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ...errors import BackendUnavailable
from .nvrtc import Nvrtc, pointers, source_folder

#: C++ name of each storage type.
TYPES = {torch.float32: "float", torch.float16: "half_t", torch.bfloat16: "bf16_t"}
Argument = Tensor | int | ctypes.c_longlong | ctypes.Structure | Sequence[Tensor]


class Launcher(Protocol):
    #: Type of device that its tensors must be on.
    device: str

    def launch(self, name: str, grid: tuple[int, int, int], block: int, shared: int, device: int, stream: int,
               arguments: list[Any]) -> None: ...  # fmt: skip


class Compiled:
    """A shared library with the C interface of csrc/cuda/bindings.cpp."""

    def __init__(self, path: Path, device: str = "cuda") -> None:
        self.device = device
        self.library = ctypes.CDLL(str(path))

    def launch(self, name: str, grid: tuple[int, int, int], block: int, shared: int, device: int, stream: int,
               arguments: list[Any]) -> None:  # fmt: skip
        error = ctypes.create_string_buffer(1024)
        sizes = (ctypes.c_size_t * len(arguments))(*(ctypes.sizeof(a) for a in arguments))
        failed = self.library.acdc_launch(
            name.encode(), (ctypes.c_uint * 3)(*grid), block, shared, device, ctypes.c_void_p(stream),
            pointers(arguments), sizes, len(arguments), error, ctypes.c_size_t(len(error)),
        )  # fmt: skip
        if failed:
            raise RuntimeError(error.value.decode())

    def names(self) -> list[str]:
        self.library.acdc_kernel_name.restype = ctypes.c_char_p
        return [self.library.acdc_kernel_name(i).decode() for i in range(self.library.acdc_kernel_count())]


@lru_cache(maxsize=1)
def find() -> Launcher | str:
    """The launcher of this installation, or the reasons why there is none."""
    library = Path(__file__).resolve().parents[2] / "_cuda.so"
    reasons = [f"{library.name} was not built (ACDC_CUDA=1 pip install -e . with nvcc on PATH builds it)"]
    if library.exists():
        try:
            return Compiled(library)
        except OSError as error:
            reasons = [f"{library.name} cannot be loaded: {error}"]
    package = "cupy-cuda12x" if (torch.version.cuda or "13").startswith("12") else "cupy-cuda13x"
    folder = source_folder()
    if folder is None:
        reasons.append("the kernels' sources are not installed")
    else:
        try:
            from cupy_backends.cuda.libs import nvrtc  # type: ignore[import-untyped]

            nvrtc.getVersion()
            return Nvrtc(folder)
        except Exception as error:  # CuPy passes on its loader's errors: ImportError, RuntimeError, OSError
            reason = f"{type(error).__name__}: {error}"
            reasons.append(f"CuPy's NVRTC cannot compile them instead ({reason}): pip install {package}")
    return "; ".join(reasons)


_chosen: Launcher | None = None


def use(launcher: Launcher | None) -> None:
    """For tests: every launch goes to ``launcher``. None restores `find`."""
    global _chosen
    _chosen = launcher


def current() -> Launcher | str:
    return _chosen or find()


def launch(
    kernel: str, dtype: torch.dtype, grid: Sequence[int], shared: int, *arguments: Argument, block: int = 256
) -> None:
    """Runs ``kernel`` for storage ``dtype`` on the device and the current stream of its tensors.

    Raises `BackendUnavailable` if nothing can run it, ``RuntimeError`` with the driver's reason if a launch fails.
    """
    launcher = current()
    if isinstance(launcher, str):
        raise BackendUnavailable(launcher)
    tensors = [a for a in arguments if isinstance(a, Tensor)]
    device = tensors[0].device
    converted: list[Any] = []
    for a in arguments:
        if isinstance(a, Tensor):
            converted.append(ctypes.c_void_p(_address(a, kernel, launcher.device)))
        elif isinstance(a, int):
            converted.append(ctypes.c_int(a))
        elif isinstance(a, (ctypes.Structure, ctypes.c_longlong)):
            converted.append(a)
        else:
            converted.append((ctypes.c_void_p * len(a))(*(_address(t, kernel, launcher.device) for t in a)))
    index = device.index or 0
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    x, y, z = (*grid, 1, 1)[:3]
    launcher.launch(f"{kernel}<{TYPES[dtype]}>", (x, y, z), block, shared, index, stream, converted)


def _address(x: Tensor, kernel: str, device: str) -> int:
    if x.device.type != device:
        raise RuntimeError(f"{kernel}: a tensor is on {x.device}, not on a {device} device")
    return x.data_ptr()
