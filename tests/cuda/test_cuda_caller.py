"""Launches go to the device and the stream of the caller's tensors, as far as a machine without a GPU can test it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from acdc_fast.kernels import launch as triton_launch
from acdc_fast.ops.cuda import launch as cuda_launch
from acdc_fast.ops.cuda import nvrtc as cuda_nvrtc

STREAM = 0x5EED


class OnGPU(torch.Tensor):
    """A tensor that claims to be on the second GPU."""

    device = torch.device("cuda", 1)
    is_cuda = True


def on_gpu() -> torch.Tensor:
    return torch.Tensor._make_subclass(OnGPU, torch.zeros(4))


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Two pretended GPUs; their current streams are 0x5EED and the GPU's number. Returns the devices entered."""
    entered: list[object] = []

    @contextmanager
    def device(wanted: object) -> Any:
        entered.append(wanted)
        yield

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda d: SimpleNamespace(cuda_stream=STREAM + d.index))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda d: (9, d - 1))
    return entered


def test_launch_hands_on_the_tensors_device_and_its_current_stream(gpus: list[object]) -> None:
    seen: list[Any] = []

    class Launcher:
        device = "cuda"

        def launch(self, *arguments: Any) -> None:
            seen.append(arguments)

    cuda_launch.use(Launcher())
    try:
        cuda_launch.launch("a_kernel", torch.float16, [3, 2], 128, on_gpu(), 7)
    finally:
        cuda_launch.use(None)
    name, grid, block, shared, device, stream, _ = seen[0]
    assert (name, grid, block, shared) == ("a_kernel<half_t>", (3, 2, 1), 256, 128)
    assert (device, stream) == (1, STREAM + 1)


def test_nvrtc_launches_there_too(gpus: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each device loads a module of its own, and the driver gets the stream."""
    calls: list[tuple[Any, ...]] = []
    function, api = ModuleType("cupy.cuda.function"), ModuleType("cupy_backends.cuda.api")

    class Module:
        def load(self, cubin: bytes) -> None:
            calls.append(("load", cubin, gpus[-1]))

        def get_function(self, name: str) -> Any:
            return SimpleNamespace(ptr=name)

    function.Module = Module  # type: ignore[attr-defined]
    api.driver = SimpleNamespace(  # type: ignore[attr-defined]
        launchKernel=lambda *a: calls.append(("launch", *a)),
        funcSetAttribute=lambda *a: calls.append(("attribute", *a)),
        CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8,
    )
    for name, module in (("cupy", None), ("cupy.cuda", None), ("cupy.cuda.function", function),
                         ("cupy_backends.cuda.api", api)):  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module or ModuleType(name))
    nvrtc = cuda_nvrtc.Nvrtc(tmp_path)
    monkeypatch.setattr(nvrtc, "cubin", lambda name, architecture: (f"{name} sm_{architecture}".encode(), "mangled"))
    for _ in range(2):
        nvrtc.launch("k<float>", (1, 1, 1), 256, 64 << 10, 1, STREAM, [])
    nvrtc.launch("k<float>", (1, 1, 1), 256, 0, 2, STREAM, [])
    assert [c for c in calls if c[0] == "load"] == [("load", b"k<float> sm_90", 1), ("load", b"k<float> sm_91", 2)]
    assert all(c[9] == STREAM for c in calls if c[0] == "launch") and gpus == [1, 1, 2]
    assert [c for c in calls if c[0] == "attribute"] == [("attribute", "mangled", 8, 64 << 10)] * 2


def test_triton_launches_on_the_tensors_device(gpus: list[object]) -> None:
    """Triton takes the current stream of the current device, so that is set to the tensors'."""
    with triton_launch.on(on_gpu()):
        assert gpus == [torch.device("cuda", 1)]


def test_a_kept_cubin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Compiled once, then read from the disk. Compiled again if the file was cut short, or text or GPU changed."""
    whole = bytearray(b"\x7fELF" + bytes(124))
    whole[32:40] = (64).to_bytes(8, "little")  # program headers begin behind the ELF header: one of 64 bytes
    whole[54:58] = (64).to_bytes(2, "little") + (1).to_bytes(2, "little")
    compiled: list[int] = []

    def compile_(text: str, name: str, architecture: int) -> tuple[bytes, str]:
        compiled.append(architecture)
        return bytes(whole), "mangled"

    monkeypatch.setattr(cuda_nvrtc, "nvrtc_compile", compile_)
    monkeypatch.setenv("ACDC_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "a.cuh"
    source.write_text("void k(")

    def cubin(architecture: int = 90) -> tuple[bytes, str]:
        return cuda_nvrtc.Nvrtc(tmp_path).cubin("k<float>", architecture)

    assert cubin() == cubin() == (bytes(whole), "mangled") and compiled == [90]
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])
    assert cubin() == (bytes(whole), "mangled") and compiled == [90, 90]
    cubin(80)
    source.write_text("void k( ")
    cubin()
    assert compiled == [90, 90, 80, 90] and len(list((tmp_path / "cache").iterdir())) == 3
    monkeypatch.setenv("ACDC_CACHE", str(kept))  # a file: nothing can be kept there, and nothing is lost but time
    assert cubin() == (bytes(whole), "mangled") and len(compiled) == 5
