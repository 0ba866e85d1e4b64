"""Compiles CUDA kernels at first use, by NVRTC through CuPy, if nvcc did not build them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import struct
import tempfile
from pathlib import Path
from typing import Any

import torch

from ...errors import BackendUnavailable


def pointers(arguments: list[Any]) -> Any:
    return (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))


def source_folder() -> Path | None:
    """The folder of the kernels' source: in a wheel's package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    folders = (package / "csrc_cuda", package.parent / "csrc" / "cuda")
    return next((f for f in folders if (f / "table.h").exists()), None)


def kernel_file(name: str, folder: Path) -> Path:
    """The .cuh that holds a kernel."""
    for path in sorted(folder.glob("*.cuh")):
        if re.search(rf"\b{name}\(", path.read_text(encoding="utf-8")):
            return path
    raise BackendUnavailable(f"no kernel {name} in {folder}")


def inlined(path: Path, seen: set[Path] | None = None) -> str:
    """The text of a .cuh with its includes inserted, so that NVRTC needs no search path."""
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
    """Cubin for compute capability ``architecture``, and the mangled name of kernel ``name``. Needs no driver."""
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
    """CuPy drops a cubin's last byte as a terminator. The ELF header tells the true length, so it is restored."""
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
        """The cubin from the disk, or compiled and written there."""
        text = inlined(kernel_file(name.split("<")[0], self.folder))
        key = hashlib.sha256(f"{text}\0{name}\0{architecture}".encode()).hexdigest()[:32]
        cache = Path(os.environ.get("ACDC_CACHE") or Path.home() / ".cache" / "acdc_fast")
        kept = cache / f"{key}.cubin"
        if kept.exists():
            head, _, cubin = kept.read_bytes().partition(b"\0")
            if len(cubin) > 64 and cubin[:4] == b"\x7fELF" and cubin == _whole(cubin):  # else it was cut short
                return cubin, head.decode()
        cubin, mangled = nvrtc_compile(text, name, architecture)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=cache, delete=False) as file:
                file.write(mangled.encode() + b"\0" + cubin)
            os.replace(file.name, kept)
        except OSError:  # with a read-only home each process compiles again; nothing else is lost
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
            packed = pointers(arguments)
            driver.launchKernel(function, *grid, block, 1, 1, shared, stream, ctypes.addressof(packed), 0)
