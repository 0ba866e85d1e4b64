"""The GPU kernels and the GPU engine, timed on your GPU. The table replaces the predictions of docs/notes/gpu.md.

`pytest bench/test_gpu.py --benchmark`. Each call is a replayed CUDA graph between two events, after the L2 cache was
overwritten. A kernel that disagrees with the reference gets no time. Without a GPU the benchmark says so.
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
from acdc_fast.training.distributed import World
from acdc_fast.training.loop.run import Run
from acdc_fast.training.loop.update import Update
from acdc_fast.training.sampling.targets import Targets
from acdc_fast.training.schedule import Phase
from acdc_fast.training.settings import Optimiser, Settings, Source

BATCHES = (1, 8, 32)
ROUNDS = 50
ROWS: list[str] = []


@pytest.fixture
def lines(out: Path) -> Iterator[list[str]]:
    """The lines of the table so far. They are written after each test, so that an interrupted run keeps them."""
    yield ROWS
    text = f"Measured on {torch.cuda.get_device_name()}, torch {torch.__version__}.\n\n" + "\n".join(ROWS) + "\n"
    (out / "gpu.md").write_text(text)


@pytest.fixture(scope="module")
def bandwidth() -> float:
    """Bytes a second of a large copy: shares are relative to it."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds(lambda: target.copy_(source))


def elapsed(call: Callable[[], object]) -> float:
    """Seconds on the device, between the events before and after a call."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3


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
        flush.zero_()
        times.append(elapsed(graph.replay))
    return statistics.median(times)


def agrees(case: Case, tolerance: float) -> None:
    """Checks the root mean square error of each result, relative to its size: a check before timing, not a test."""
    for a, b in zip(case.ours(), case.reference(), strict=True):
        error = (a.float() - b.float()).square().mean().sqrt()
        assert error <= tolerance * b.float().square().mean().sqrt() + 1e-6, f"{case.name} is wrong: no figure"


def gate() -> None:
    for case in cases(1, torch.float32, "cuda"):
        agrees(case, 1e-3)
    for case in cases(1, torch.float16, "cuda"):
        if case.name != "attention_mask, backward":  # the reference rounds, so another map may win a pixel
            agrees(case, 0.05)


@pytest.mark.parametrize("batch", BATCHES)
def test_kernels(batch: int, lines: list[str], bandwidth: float) -> None:
    gate()
    if batch == BATCHES[0]:
        lines.append(f"Copy bandwidth {bandwidth / 1e12:.2f} TB/s.\n")
        lines.append("| kernel | batch | µs | share of copy bandwidth | eager µs |")
        lines.append("| --- | ---: | ---: | ---: | ---: |")
    device = torch.device("cuda", torch.cuda.current_device())
    block = configs.of("cascade_transition", launch.family(device), torch.float16).pixels
    model = works(tile=tiles.tile(128, 128, batch, launch.processors(device), block))
    for case in cases(batch, torch.float16, "cuda"):
        ours, eager = seconds(case.ours), seconds(case.reference)
        share = model[case.name].bytes * batch / ours / bandwidth
        cells = (case.name, batch, f"{1e6 * ours:.1f}", f"{share:.0%}", f"{1e6 * eager:.1f}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
        assert ours > 0


def turns(calls: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, tuple[float, float, float]]:
    """Lower quartile, median and upper quartile of each call's seconds. The calls take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(5):
        for call in calls.values():
            call()
    torch.cuda.synchronize()
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(elapsed(call))
    quartiles = {name: statistics.quantiles(taken, n=4) for name, taken in times.items()}
    return {name: (low, middle, high) for name, (low, middle, high) in quartiles.items()}


@pytest.mark.parametrize("width,batch", [(64, 1), (64, 8), (64, 32), (32, 1), (32, 32), (16, 1), (16, 32)])
def test_cascade(width: int, batch: int, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole cascades at 128²: the eager network in half precision, and the engine with each kind of kernels."""
    monkeypatch.setenv("ACDC_BACKEND", "reference")  # the eager network must not take the kernels
    torch.manual_seed(0)
    network = ACDC(ACDCConfig(width=width)).eval()
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    crops = torch.rand(batch, 1, 128, 128, device="cuda")
    truth = network.cuda()(crops)
    half = network.half().to(memory_format=torch.channels_last)
    given = crops.half().contiguous(memory_format=torch.channels_last)
    calls: dict[str, Callable[[], object]] = {"eager": lambda: half(given)}
    for kernels in ("triton", "cuda"):
        engine = GPUEngine(network.config, arrays, dtype="float16", kernels=kernels)
        error = (engine(crops).landmarks["2d68"] - truth.landmarks["2d68"]).abs().max()
        assert engine.ungraphed is None, engine.ungraphed
        assert error < 5e-3, f"the engine with {kernels} is wrong: no figure"
        calls[kernels] = lambda engine=engine: engine(crops)  # type: ignore[misc]
    with torch.inference_mode():
        found = turns(calls)
    if (width, batch) == (64, 1):
        lines += ["", "| cascade, float16, 128² | eager ms | engine, Triton ms | engine, CUDA ms | times | faces / s |"]
        lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    cells = [f"{1e3 * m:.2f} ({1e3 * low:.2f} to {1e3 * high:.2f})" for low, m, high in found.values()]
    best = min(found[name][1] for name in ("triton", "cuda"))
    cells += [f"{found['eager'][1] / best:.1f}", f"{batch / best:.0f}"]
    lines.append(f"| width {width}, batch {batch} | " + " | ".join(cells) + " |")


def test_training_step(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An update of width 32 on 64 crops of 96², bfloat16: eager, with our kernels, and each recorded as a graph."""
    settings = Settings(
        databases=(Source("made"),), phases=(Phase(10_000, 96, 64),), bf16=True, on_device=True,
        network=ACDCConfig(width=32, markups=("2d98", "2d68", "2d5", "3d68")),
        optimiser=Optimiser(rate=1e-3, muon_rate=3e-3, clip=1.0, ema=0.998),
    )  # fmt: skip
    world = World(0, 1, torch.device("cuda"))
    torch.manual_seed(0)
    image = torch.rand(64, 1, 96, 96, device="cuda").to(memory_format=torch.channels_last)
    points = {m: torch.rand(64, n, 2, device="cuda") for m, n in settings.network.points.items()}
    targets = Targets(points, {m: torch.ones(64, p.shape[1], device="cuda") for m, p in points.items()}, None)

    def step(update: Update) -> Callable[[], object]:
        return lambda: update(image, targets, "made")

    def plain(run: Run) -> Callable[[], object]:
        update = Update(run)
        update.captured = None
        return step(update)

    def reference(call: Callable[[], object]) -> Callable[[], object]:
        def through() -> None:
            with monkeypatch.context() as patch:
                patch.setenv("ACDC_BACKEND", "reference")
                call()

        return through

    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    found = turns(
        {
            "eager": reference(plain(Run(settings, world))),
            "our kernels": plain(Run(settings, world)),
            "our kernels, recorded": step(Update(Run(settings, world))),
            "eager, recorded": reference(step(Update(Run(settings, world)))),
        },
        rounds=15,
    )
    lines += ["", "| update, width 32, 64 crops of 96², bfloat16 | ms | faces / s |", "| --- | ---: | ---: |"]
    for name, (low, m, high) in found.items():
        lines.append(f"| {name} | {1e3 * m:.1f} ({1e3 * low:.1f} to {1e3 * high:.1f}) | {64 / m:.0f} |")


def test_configurations(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Times the candidates of each kernel at batch 32. The fastest belong in kernels/configs.py."""
    family = launch.family(torch.device("cuda", torch.cuda.current_device()))
    lines += ["", f"| kernel ({family}) | configuration | µs |", "| --- | --- | --- |"]
    for case in cases(32, torch.float16, "cuda"):
        kernel = case.kernel
        for candidate in configs.candidates(kernel, family, torch.float16):
            monkeypatch.setitem(configs.TABLE[family][0], kernel, candidate)
            lines.append(f"| {case.name} | {candidate} | {1e6 * seconds(case.ours):.1f} |")
    assert lines


def test_compiled(lines: list[str]) -> None:
    """The kernels and torch.compile of the references. Last, because compiling takes longer than all the rest."""
    lines += ["", "| kernel, batch 32 | µs | torch.compile µs |", "| --- | ---: | ---: |"]
    for case in cases(BATCHES[-1], torch.float16, "cuda"):
        torch._dynamo.reset()
        fused = seconds(torch.compile(case.reference, dynamic=False))
        lines.append(f"| {case.name} | {1e6 * seconds(case.ours):.1f} | {1e6 * fused:.1f} |")
