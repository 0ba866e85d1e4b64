"""The kernels' launches, recorded once and replayed under sanitizers; and faults planted in them, each of which must
be caught."""

from __future__ import annotations

import ctypes
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.emulator_build import OWN, SOURCES, built, compile_objects
from torch import Tensor

from acdc_fast.ops import cuda
from acdc_fast.ops.cuda import launch as cuda_launch
from acdc_fast.ops.cuda import strips as cuda_strips
from acdc_fast.ops.cuda.launch import Compiled

NAMES, KERNELS = [*OWN, "emulator/replay.cpp", "bindings.cpp"], "emulator/launch.cpp"
ADDRESS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
THREAD = ["-fsanitize=thread"]
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0", "TSAN_OPTIONS": "halt_on_error=1"}


class Recorder:
    """Runs each launch on the emulator, and records it with the memory of its pointers."""

    device = "cpu"

    def __init__(self, inner: Compiled, path: Path, sizes: dict[int, int]) -> None:
        self.inner, self.file, self.sizes, self.kernels = inner, path.open("wb"), sizes, set[str]()

    def launch(self, name: str, grid: tuple[int, int, int], block: int, shared: int, device: int, stream: int,
               arguments: list[Any]) -> None:  # fmt: skip
        self.kernels.add(name.split("<")[0])
        write = self.file.write
        write(name.encode() + b"\0" + struct.pack("<6I", *grid, block, shared, len(arguments)))
        for a in arguments:
            pointers = [a.value] if isinstance(a, ctypes.c_void_p) else list(a) if isinstance(a, ctypes.Array) else []
            write(struct.pack("<2I", len(pointers), ctypes.sizeof(a)))
            if not pointers:
                write(bytes(a))
            for p in pointers:
                write(struct.pack("<Q", self.sizes[p]) + ctypes.string_at(p, self.sizes[p]))
        self.inner.launch(name, grid, block, shared, device, stream, arguments)


def every_op(kind: torch.memory_format) -> None:
    """Each kernel at least once, forward and backward, on odd shapes."""
    torch.manual_seed(0)
    b, c, k, h, w, maps, split, o = 2, 6, 4, 5, 9, 11, 6, 5
    masked = [True] * maps
    x = torch.randn(b, c, h, w).half().contiguous(memory_format=kind)
    cuda.spatial_softmax.backward(
        torch.ones(b, c, 2), torch.ones(b, c, 3), torch.ones(b, c), x, *cuda.spatial_softmax.forward(x)
    )
    mask, *saved = cuda.attention_mask.forward(x)
    cuda.attention_mask.backward(mask, x, mask, *saved)
    image, excitation = torch.rand(b, 1, h, w), torch.rand(b, 2 + 2 * c)
    weight, bias = torch.randn(o, 2 + 2 * c), torch.randn(o)
    fused = cuda.dual_fusion.forward(image, x, mask, excitation)
    cuda.dual_fusion.backward(fused, image, x, mask, excitation, True)
    out = cuda.dual_fusion_conv1x1.forward(image, x, mask, excitation, weight, bias)
    cuda.dual_fusion_conv1x1.backward(out, image, x, mask, excitation, weight, True)
    depthwise, transfer = torch.randn(2, k, 3, 3), torch.randn(maps, k)
    statistics = cuda.geometry_transfer.forward(x, depthwise, transfer, split, masked)
    ones = [torch.ones_like(t) for t in statistics[:4]]
    cuda.geometry_transfer.backward(*ones, x, depthwise, transfer, split, *statistics)
    cuda.cascade_transition.forward(
        x, depthwise, transfer, split, masked, statistics[4], statistics[5], image, excitation, weight, bias
    )


@pytest.fixture(scope="module")
def recording(emulator_library: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, sizes, patch = tmp_path_factory.mktemp("recording") / "launches", {}, pytest.MonkeyPatch()
    address: Callable[[Tensor, str, str], int] = cuda_launch._address

    def noted(x: Tensor, kernel: str, device: str) -> int:
        sizes[x.data_ptr()] = x.numel() * x.element_size()
        return address(x, kernel, device)

    patch.setattr(cuda_launch, "_address", noted)
    patch.setattr(cuda_strips, "MOST_ROWS", 3)
    recorder = Recorder(emulator_library, path, sizes)
    cuda_launch.use(recorder)
    try:
        for kind in (torch.contiguous_format, torch.channels_last):
            every_op(kind)
    finally:
        cuda_launch.use(None)
        patch.undo()
        recorder.file.close()
    missing = {n.split("<")[0] for n in emulator_library.names()} - recorder.kernels
    assert not missing, f"no launch of {missing} was recorded"
    return path


def clean_build(flags: list[str]) -> Path:
    """The folder of the program `replay` built with ``flags``, and of its objects."""
    instrumented = ["-O1", "-g", "-DEMULATOR_HALF_ALONE", *flags]
    plain = ["-O1", "-g", "-DEMULATOR_TSAN"] if flags == THREAD else instrumented
    name = "replay-thread" if flags == THREAD else "replay-address"
    return built(name, instrumented, plain, [*NAMES, KERNELS], flags, "replay")


def replay(program: Path, recording: Path, kernel: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the recorded launches, or only those of ``kernel``."""
    fixed = ["setarch", "-R"] if shutil.which("setarch") else []  # ThreadSanitizer wants fixed addresses
    command = [*fixed, str(program), str(recording), kernel]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=900, check=False)


@pytest.mark.parametrize("flags", [ADDRESS, THREAD], ids=["address_undefined", "thread"])
def test_all_kernels_are_clean(recording: Path, flags: list[str]) -> None:
    result = replay(clean_build(flags) / "replay", recording)
    assert result.returncode == 0 and "all launches ran" in result.stdout, result.stderr[:4000]


#: name: kernel that meets the fault, file, text there, what takes its place, build, what the report must say, and where
FAULTS = {
    "missing_barrier": (
        "spatial_softmax_forward",
        "spatial_softmax.cuh", "  __syncthreads();\n  if (threadIdx.x == 0) {", "  if (threadIdx.x == 0) {",
        THREAD, ["data race", "spatial_softmax.cuh"],
    ),
    "missing_barrier_between_rows": (
        "geometry_transfer_statistics",
        "geometry_strip.cuh", "    convolve(y);\n    __syncthreads();\n", "    convolve(y);\n",
        THREAD, ["data race", "geometry_strip.cuh"],
    ),
    "global_overrun_by_one": (
        "attention_mask_backward",
        "attention_mask.cuh", "for (int p = threadIdx.x; p < pixels; p += blockDim.x) {\n    float g",
        "for (int p = threadIdx.x; p <= pixels; p += blockDim.x) {\n    float g",
        ADDRESS, ["heap-buffer-overflow", "attention_mask.cuh"],
    ),
    "shared_overrun_by_one": (
        "dual_fusion_backward",
        "dual_fusion.cuh", "for (int w = 0; w < 8; ++w) sum += sums", "for (int w = 0; w <= 8; ++w) sum += sums",
        ADDRESS, ["use-after-poison", "dual_fusion.cuh"],
    ),
    "divergent_barrier": (
        "attention_mask_forward",
        "attention_mask.cuh", "  __syncthreads();\n  for (int i = warp;",
        "  if (warp) __syncthreads();\n  for (int i = warp;",
        ADDRESS, ["attention_mask.cuh", "divergent barrier"],
    ),
    "wrong_shuffle_mask": (
        "spatial_softmax_forward",
        "device.cuh", "kAllLanes = 0xffffffffu", "kAllLanes = 0x0000ffffu",
        ADDRESS, ["is not in its own mask"],
    ),
    "shuffle_in_a_branch": (
        "dual_fusion_backward",
        "dual_fusion.cuh", "    sum = warp_sum(sum);", "    if (lane < 16) sum = warp_sum(sum);",
        ADDRESS, ["lanes that the mask names never arrive"],
    ),
    "blocks_store_to_one_address": (
        "attention_mask_forward",
        "attention_mask.cuh", "store(winner + (face * pixels + p + i), b.map);", "store(winner + (p + i), b.map);",
        ADDRESS, ["store to one address"],
    ),
}  # fmt: skip


def build_of(kernel: str, sources: Path, flags: list[str], folder: Path) -> Path:
    """`replay` with this one kernel from ``sources``, and all others from the clean build."""
    table = sources / "table.h"
    others = rf"X\((?!{kernel}\))\w+\)"
    table.write_text(re.sub(others, "", table.read_text(encoding="utf-8")), encoding="utf-8")
    folder.mkdir()
    own = compile_objects(folder, sources, ["-O1", "-g", "-DEMULATOR_HALF_ALONE", *flags], [], [KERNELS])
    rest = [str(o) for o in clean_build(flags).glob("*.o") if o.name != Path(own[0]).name]
    subprocess.run(["g++", *flags, *own, *rest, "-o", str(folder / "replay")], check=True)
    return folder / "replay"


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_caught(recording: Path, tmp_path: Path, name: str) -> None:
    kernel, file, text, instead, flags, words = FAULTS[name]
    sources = tmp_path / "cuda"
    shutil.copytree(SOURCES, sources)
    whole = (sources / file).read_text(encoding="utf-8")
    assert whole.count(text) >= 1, f"{file} has no {text!r} any more: plant the fault elsewhere"
    (sources / file).write_text(whole.replace(text, instead, 1), encoding="utf-8")
    result = replay(build_of(kernel, sources, flags, tmp_path / "build"), recording, kernel)
    assert result.returncode != 0, "not caught"
    missing = [w for w in words if w not in result.stderr]
    assert not missing, f"the report does not say {missing}: {result.stderr[:1500]}"
