"""Steps of gpu_page.py: whole cascades, alone and beside torch.compile, and updates of training. Calls take turns."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from gpu_budget import Results, one_line
from gpu_scale import DRY, Scale, kinds
from gpu_timing import Call, turns
from torch import Tensor

from acdc_fast.config import ACDCConfig
from acdc_fast.engines.gpu import GPUEngine
from acdc_fast.network import ACDC

#: Landmarks may lie this far from float32's, as a share of the crop.
NEAR = 5e-3
#: An update's loss and norm of the gradient may differ by so much from eager's, relative: both are sums over all points
#: and pixels, so bfloat16's rounding (2⁻⁸ of each activation) averages out.
LOSS, GRADIENT = 1e-2, 5e-2


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Within it the ops run on this backend."""
    before = os.environ.get("ACDC_BACKEND")
    os.environ["ACDC_BACKEND"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["ACDC_BACKEND"]
        else:
            os.environ["ACDC_BACKEND"] = before


def through(name: str, call: Call) -> Call:
    def on_backend() -> object:
        with backend(name):
            return call()

    return on_backend


def config_of(width: int, scale: Scale) -> ACDCConfig:
    if scale is DRY:
        return ACDCConfig(width=width, stages=1, markups=("2d68", "3d68"))
    return ACDCConfig(width=width)


def contestants(width: int, faces: int, scale: Scale, results: Results, compiled: bool) -> dict[str, Call]:
    """Eager in half precision, torch.compile if asked for, and the engine with each kind of kernels. One whose
    landmarks are not float32's is told and left out."""
    torch.manual_seed(0)
    network = ACDC(config_of(width, scale)).eval()
    arrays = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    crops = torch.rand(faces, 1, scale.crop, scale.crop, device=scale.device)
    network = network.to(scale.device)
    torch.backends.cudnn.allow_tf32 = False
    truth = network(crops).landmarks["2d68"]
    half = network.half().to(memory_format=torch.channels_last)
    given = crops.half().contiguous(memory_format=torch.channels_last)
    found: dict[str, Callable[[], Any]] = {"eager": lambda: half(given)}
    if compiled:
        fused = torch.compile(half, dynamic=False, **scale.compiler)
        found["compiled"] = lambda: fused(given)
    for kind, reason in kinds(scale.device).items():
        if reason is None:
            engine = GPUEngine(network.config, arrays, dtype="float16", device=scale.device, kernels=kind)
            found[kind] = lambda engine=engine: engine(crops)  # type: ignore[misc]
    for name, call in list(found.items()):
        off = float((call().landmarks["2d68"].float() - truth).abs().max())
        if not off < NEAR:
            results.note(f"cascade, width {width}, {faces} faces, {name}: landmarks off by {off:.1e}: no time")
            del found[name]
    return found


def measure(width: int, faces: int, scale: Scale, results: Results, compiled: bool) -> None:
    with torch.inference_mode(), backend("reference"):  # the eager network must not take the kernels
        calls = contestants(width, faces, scale, results, compiled)
        results.row(width=width, faces=faces, times=turns(calls, scale.device, scale.rounds, scale.warmup))


def cascade(scale: Scale, results: Results, compiled: bool = False) -> None:
    torch.backends.cudnn.benchmark = True  # for all contestants alike
    last = 0.0
    for width, faces in scale.compiled if compiled else scale.networks:
        name = f"{'torch.compile, ' * compiled}width {width}, {faces} face{'s' * (faces != 1)}"
        if results.left < last:
            results.note(f"{name}: not begun, the time was short")
            continue
        begun = time.monotonic()
        if compiled:
            torch.compiler.reset()
        results.note(doing := f"{name}: begun, not ended")
        try:
            measure(width, faces, scale, results, compiled)
        except Exception as error:  # out of memory, or what a compiler says: the other sizes must not be lost
            results.note(f"{name}: {type(error).__name__}: {one_line(str(error), 120)}")
        results.forget(doing)
        last = time.monotonic() - begun
        if scale.device != "cpu":
            torch.cuda.empty_cache()


def compiled(scale: Scale, results: Results) -> None:
    cascade(scale, results, compiled=True)


def update(scale: Scale, results: Results) -> None:
    """An update in bfloat16: eager, with our kernels, and each recorded as a CUDA graph."""
    from acdc_fast.training.distributed import World
    from acdc_fast.training.loop.run import Run
    from acdc_fast.training.loop.update import Update
    from acdc_fast.training.sampling.targets import Targets
    from acdc_fast.training.schedule import Phase
    from acdc_fast.training.settings import Optimiser, Settings, Source

    on_gpu = scale.device != "cpu"
    settings = Settings(
        databases=(Source("made"),), phases=(Phase(10_000, scale.crop_side, scale.crops),), bf16=on_gpu,
        on_device=on_gpu, network=config_of(scale.train_width, scale),
        optimiser=Optimiser(rate=1e-3, muon_rate=3e-3, clip=1.0, ema=0.998),
    )  # fmt: skip
    world = World(0, 1, torch.device(scale.device))
    torch.manual_seed(0)
    image = torch.rand(scale.crops, 1, scale.crop_side, scale.crop_side, device=scale.device)
    image = image.to(memory_format=torch.channels_last)
    points = {m: torch.rand(scale.crops, n, 2, device=scale.device) for m, n in settings.network.points.items()}
    weight: dict[str, Tensor] = {m: torch.ones(scale.crops, p.shape[1], device=scale.device) for m, p in points.items()}
    targets = Targets(points, weight, None)
    torch.backends.cudnn.benchmark = True
    known = {"eager": "reference", "our kernels": "auto"}  # which takes Triton's where they run
    calls: dict[str, Call] = {}
    told: dict[str, dict[str, float]] = {}
    for name, ops in known.items():
        for recorded in (False, True):
            if recorded and not on_gpu:
                results.note("updates recorded as CUDA graphs: they need a GPU")
                continue
            run = Run(settings, world)
            one = Update(run)
            if not recorded:
                one.captured = None
            with backend(ops):
                one(image, targets, "made")
            label = name + ", recorded" * recorded
            told[label] = run.report()
            off = [abs(told[label][f"made/{k}"] / told["eager"][f"made/{k}"] - 1) for k in ("loss", "gradient")]
            if off[0] < LOSS and off[1] < GRADIENT:
                calls[label] = through(ops, lambda one=one: one(image, targets, "made"))  # type: ignore[misc]
            else:
                results.note(f"update, {label}: loss off by {off[0]:.1%}, gradient by {off[1]:.1%}: no time")
    results.row(times=turns(calls, scale.device, scale.updates, scale.warmup))
