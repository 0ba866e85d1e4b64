"""Gets CUDA kernels to run: from the library that nvcc built, or else compiled at first use by NVRTC through CuPy.

Both hold the same kernels under the same names; `Compiled` also opens the emulator's library, which runs them on the
CPU.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import struct
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import BackendUnavailable

#: C++ name of each storage type.
TYPES = {torch.float32: "float", torch.float16: "half_t", torch.bfloat16: "bf16_t"}
Argument = Tensor | int | ctypes.c_longlong | ctypes.Structure | Sequence[Tensor]


class Launcher(Protocol):
    #: Type of device whose tensors its kernels read.
    device: str

    def launch(self, name: str, grid: tuple[int, int, int], block: int, shared: int, device: int, stream: int,
               arguments: list[Any]) -> None: ...  # fmt: skip


def _pointers(arguments: list[Any]) -> Any:
    return (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))


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
            _pointers(arguments), sizes, len(arguments), error, ctypes.c_size_t(len(error)),
        )  # fmt: skip
        if failed:
            raise RuntimeError(error.value.decode())

    def names(self) -> list[str]:
        self.library.acdc_kernel_name.restype = ctypes.c_char_p
        return [self.library.acdc_kernel_name(i).decode() for i in range(self.library.acdc_kernel_count())]


def source_folder() -> Path | None:
    """Where the kernels' text lies: in the package of a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    folders = (package / "csrc_cuda", package.parent / "csrc" / "cuda")
    return next((f for f in folders if (f / "table.h").exists()), None)


def kernel_file(name: str, folder: Path) -> Path:
    """The .cuh that holds a kernel."""
    for path in sorted(folder.glob("*.cuh")):
        if re.search(rf"\b{name}\(", path.read_text(encoding="utf-8")):
            return path
    raise BackendUnavailable(f"no kernel {name} in {folder}")


def inlined(path: Path, seen: set[Path] | None = None) -> str:
    """A .cuh with the files that it includes in their places, so that NVRTC needs no search path."""
    seen = set() if seen is None else seen
    if path in seen:
        return ""
    seen.add(path)
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        include = re.match(r'#include "(\w+\.cuh)"', line)
        lines.append(inlined(path.parent / include[1], seen) if include else line)
    return "\n".join(line for line in lines if line != "#pragma once")


def nvrtc_compile(text: str, name: str, architecture: int) -> tuple[bytes, str]:
    """Cubin for compute capability ``architecture`` and the mangled name of kernel ``name``; needs no driver."""
    from cupy_backends.cuda.libs import nvrtc  # type: ignore[import-untyped]

    program = nvrtc.createProgram(text, "kernels.cu", [], [])
    try:
        nvrtc.addNameExpression(program, name)
        try:
            nvrtc.compileProgram(program, [f"--gpu-architecture=sm_{architecture}", "--std=c++17"])
        except nvrtc.NVRTCError as error:
            raise BackendUnavailable(f"NVRTC cannot compile {name}: {nvrtc.getProgramLog(program)}") from error
        lowered = nvrtc.getLoweredName(program, name)
        mangled = lowered.decode() if isinstance(lowered, bytes) else lowered
        return _whole(bytes(nvrtc.getCUBIN(program))), mangled
    finally:
        nvrtc.destroyProgram(program)


def _whole(cubin: bytes) -> bytes:
    """CuPy takes a cubin's last byte for a terminator and drops it; the ELF header tells how long it must be."""
    offsets, sizes = struct.unpack_from("<QQ", cubin, 32), struct.unpack_from("<HHHH", cubin, 54)
    end = max(offsets[0] + sizes[0] * sizes[1], offsets[1] + sizes[2] * sizes[3])  # program and section headers
    return cubin.ljust(end, b"\0")


class Nvrtc:
    """Kernels compiled at first use and kept in ``ACDC_CACHE`` (default ~/.cache/acdc_fast)."""

    device = "cuda"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._functions: dict[tuple[str, int], int] = {}
        self._modules: list[Any] = []

    def cubin(self, name: str, architecture: int) -> tuple[bytes, str]:
        """From the disk, else compiled and written there."""
        text = inlined(kernel_file(name.split("<")[0], self.folder))
        key = hashlib.sha256(f"{text}\0{name}\0{architecture}".encode()).hexdigest()[:32]
        cache = Path(os.environ.get("ACDC_CACHE") or Path.home() / ".cache" / "acdc_fast")
        kept = cache / f"{key}.cubin"
        if kept.exists():
            head, _, cubin = kept.read_bytes().partition(b"\0")
            return cubin, head.decode()
        cubin, mangled = nvrtc_compile(text, name, architecture)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=cache, delete=False) as file:
                file.write(mangled.encode() + b"\0" + cubin)
            os.replace(file.name, kept)
        except OSError:  # a read-only home costs a compile in every process, nothing else
            pass
        return cubin, mangled

    def launch(self, name: str, grid: tuple[int, int, int], block: int, shared: int, device: int, stream: int,
               arguments: list[Any]) -> None:  # fmt: skip
        from cupy.cuda.function import Module
        from cupy_backends.cuda.api import driver  # type: ignore[import-untyped]

        with torch.cuda.device(device):
            if (name, device) not in self._functions:
                major, minor = torch.cuda.get_device_capability(device)
                cubin, mangled = self.cubin(name, 10 * major + minor)
                module = Module()
                module.load(cubin)
                self._modules.append(module)
                self._functions[name, device] = module.get_function(mangled).ptr
            function = self._functions[name, device]
            if shared > 48 << 10:
                driver.funcSetAttribute(function, driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared)
            packed = _pointers(arguments)
            driver.launchKernel(function, *grid, block, 1, 1, shared, stream, ctypes.addressof(packed), 0)


@lru_cache(maxsize=1)
def find() -> Launcher | str:
    """The launcher of this installation, or why there is none."""
    library = Path(__file__).resolve().parents[1] / "_cuda.so"
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
            from cupy_backends.cuda.libs import nvrtc

            nvrtc.getVersion()
            return Nvrtc(folder)
        except Exception as error:  # CuPy raises what its loader raises: ImportError, RuntimeError, OSError
            reason = f"{type(error).__name__}: {error}"
            reasons.append(f"CuPy's NVRTC cannot compile them instead ({reason}): pip install {package}")
    return "; ".join(reasons)


_chosen: Launcher | None = None


def use(launcher: Launcher | None) -> None:
    """For tests: every launch goes to ``launcher``; None goes back to `find`."""
    global _chosen
    _chosen = launcher


def current() -> Launcher | str:
    return _chosen or find()


def launch(
    kernel: str, dtype: torch.dtype, grid: Sequence[int], shared: int, *arguments: Argument, block: int = 256
) -> None:
    """Run ``kernel`` for storage ``dtype`` on the device and the current stream of its tensors.

    Raises `BackendUnavailable` where nothing can run it, ``RuntimeError`` with the driver's reason where a launch
    fails.
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
