"""The GPU kernels and the GPU engine, timed on the GPU at hand; the table replaces docs/gpu.md's predictions.

`pytest bench/test_gpu.py --benchmark`. Each call is a replayed CUDA graph between two events, after the L2 cache
was overwritten; a kernel that does not agree with the reference gets no figure. Without a GPU this says so.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from gpu_model import works

pytest.importorskip("triton", reason="Triton is not installed")
if not torch.cuda.is_available():
    pytest.skip("torch sees no GPU: the GPU part of the benchmarks did not run", allow_module_level=True)

from gpu_cases import Case, cases

from acdc_fast.config import ACDCConfig
from acdc_fast.engines.gpu import GPUEngine
from acdc_fast.kernels import configs, launch, tiles
from acdc_fast.network import ACDC

BATCHES = (1, 8, 32)
ROUNDS = 50


@pytest.fixture(scope="module")
def lines(out: Path) -> Iterator[list[str]]:
    rows: list[str] = []
    yield rows
    name = torch.cuda.get_device_name()
    text = f"Measured on {name}, torch {torch.__version__}.\n\n" + "\n".join(rows) + "\n"
    (out / "gpu.md").write_text(text)
    print("\n" + text)


@pytest.fixture(scope="module")
def bandwidth() -> float:
    """Bytes a second of a large copy: the ceiling that shares are of."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds(lambda: target.copy_(source))


def seconds(call: Callable[[], object]) -> float:
    """Median over replays of the call's CUDA graph, with a cold L2 each time."""
    flush = torch.empty(512 * 2**20, dtype=torch.uint8, device="cuda")
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    times = []
    for _ in range(ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        flush.zero_()
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times)


def agrees(case: Case, tolerance: float) -> None:
    """Root mean square error of each result, as a share of its size: a gate before figures, not the kernels' test."""
    for a, b in zip(case.ours(), case.reference(), strict=True):
        error = (a.float() - b.float()).square().mean().sqrt()
        assert error <= tolerance * b.float().square().mean().sqrt() + 1e-6, f"{case.name} is wrong: no figure"


def gate() -> None:
    for case in cases(1, torch.float32, "cuda"):
        agrees(case, 1e-3)
    for case in cases(1, torch.float16, "cuda"):
        if case.name != "attention_mask, backward":  # which map wins a pixel differs where the reference rounds
            agrees(case, 0.05)


@pytest.mark.parametrize("batch", BATCHES)
def test_kernels(batch: int, lines: list[str], bandwidth: float) -> None:
    gate()
    if batch == BATCHES[0]:
        lines.append("| kernel | batch | µs | share of copy bandwidth | eager µs | torch.compile µs |")
        lines.append("| --- | --- | --- | --- | --- | --- |")
    device = torch.device("cuda", torch.cuda.current_device())
    block = configs.of("cascade_transition", launch.family(device), torch.float16).pixels
    model = works(tile=tiles.tile(128, 128, batch, launch.processors(device), block))
    for case in cases(batch, torch.float16, "cuda"):
        ours, eager = seconds(case.ours), seconds(case.reference)
        fused = seconds(torch.compile(case.reference, mode="max-autotune-no-cudagraphs"))
        share = model[case.name].bytes * batch / ours / bandwidth
        cells = (case.name, batch, f"{1e6 * ours:.1f}", f"{share:.0%}", f"{1e6 * eager:.1f}", f"{1e6 * fused:.1f}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
        assert ours > 0


@pytest.mark.parametrize("batch", BATCHES)
def test_cascade(batch: int, lines: list[str]) -> None:
    torch.manual_seed(0)
    network = ACDC(ACDCConfig()).eval()
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    crops = torch.rand(batch, 1, 128, 128, device="cuda")
    engine = GPUEngine(network.config, arrays, dtype="float16")
    truth = network.cuda()(crops)
    error = (engine(crops).landmarks["2d68"] - truth.landmarks["2d68"]).abs().max()
    assert engine.ungraphed is None, engine.ungraphed
    assert error < 5e-3, "the engine is wrong: no figure"
    half = network.half().to(memory_format=torch.channels_last)
    given = crops.half().contiguous(memory_format=torch.channels_last)

    def wall(call: Callable[[], object]) -> float:
        for _ in range(5):
            call()
        times = []
        for _ in range(ROUNDS):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
        return statistics.median(times)

    with torch.inference_mode():
        eager, ours = wall(lambda: half(given)), wall(lambda: engine(crops))
    if batch == BATCHES[0]:
        lines += ["", "| cascade, width 64, float16 | eager ms | engine ms | faces / s |", "| --- | --- | --- | --- |"]
    lines.append(f"| batch {batch} | {1e3 * eager:.2f} | {1e3 * ours:.2f} | {batch / ours:.0f} |")


def test_configurations(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Times the candidates of each kernel at batch 8; the fastest belong into kernels/configs.py."""
    family = launch.family(torch.device("cuda", torch.cuda.current_device()))
    lines += ["", f"| kernel ({family}) | configuration | µs |", "| --- | --- | --- |"]
    for case in cases(8, torch.float16, "cuda"):
        kernel = case.kernel
        for candidate in configs.candidates(kernel, family, torch.float16):
            monkeypatch.setitem(configs.TABLE[family][0], kernel, candidate)
            lines.append(f"| {case.name} | {candidate} | {1e6 * seconds(case.ours):.1f} |")
    assert lines

