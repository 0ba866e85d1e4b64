"""One stage and the step to the next through every op of a named backend, as a network trains it.

For the tests of both GPU backends: torch.compile, autocast, and DDP, whose two processes run this file as a program.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from acdc_fast import ops

CHANNELS, INPUTS, MAPS, SPLIT, SIDE = 6, 4, 7, 4, 9


class Stage(nn.Module):
    """All five ops between convolutions and dense layers; the weights are always the same."""

    def __init__(self, backend: str) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.backend = backend
        self.before = nn.Conv2d(1, CHANNELS, 3, padding=1)
        self.depthwise = nn.Parameter(torch.randn(2, INPUTS, 3, 3) / 3)
        self.transfer = nn.Parameter(2 * torch.randn(MAPS, INPUTS))
        self.pose = nn.Linear(2 * (MAPS - SPLIT), 3)
        self.excite = nn.Linear(3, 2 + 2 * CHANNELS)
        self.stem = nn.Conv2d(2 + 2 * CHANNELS, 5, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B,) one loss for each face."""
        h, name = self.before(image), self.backend
        moments, mask = ops.geometry_transfer(h, self.depthwise, self.transfer, SPLIT, [True] * MAPS, backend=name)
        excitation = torch.sigmoid(self.excite(self.pose(moments.mean[:, SPLIT:].flatten(1))))
        weight, bias = self.stem.weight.flatten(1), self.stem.bias
        fused = ops.dual_fusion(image, h, mask, excitation, backend=name)
        out = ops.dual_fusion_conv1x1(image, h, mask, excitation, weight, bias, backend=name)
        again, level = ops.spatial_softmax(out, backend=name), ops.attention_mask(fused, backend=name)
        parts = [*moments, *again, level, fused.float().square(), out.float().square()]
        return sum(p.float().flatten(1).mean(1) for p in parts)  # type: ignore[return-value]


def faces(batch: int = 2) -> Tensor:
    return torch.rand(batch, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def gradients(run: nn.Module, images: Tensor) -> list[Tensor]:
    """The gradients of the mean loss, for all parameters in order."""
    run(images).mean().backward()
    return [p.grad for p in run.parameters() if p.grad is not None]


def apart(ours: list[Tensor], truth: list[Tensor]) -> list[float]:
    """For each gradient: the norm of its error, relative to the norm of the truth."""
    assert len(ours) == len(truth) == 10 and all(torch.isfinite(g).all() for g in ours)
    return [float((a.double() - t.double()).norm() / t.double().norm()) for a, t in zip(ours, truth, strict=True)]


def check_compiles(backend: str) -> None:
    """The fake kernels trace forward and backward in one graph. The same kernels run, so gradients are the same."""
    torch._dynamo.reset()
    compiled = torch.compile(Stage(backend), backend="aot_eager", fullgraph=True)
    off = apart(gradients(compiled, faces()), gradients(Stage(backend), faces()))
    assert max(off) <= 1e-6


def check_autocast(backend: str) -> None:
    """bfloat16 autocast: features are stored in bfloat16, gradients arrive in float32, and they are as near to
    float64's as the reference's are under the same autocast: within twice its error and a rounding, 2⁻⁸."""

    def under_autocast(name: str) -> list[Tensor]:
        stage, images = Stage(name), faces()
        with torch.autocast("cpu", torch.bfloat16):
            assert stage.before(images).dtype == torch.bfloat16
            loss = stage(images).mean()
        loss.backward()
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in stage.parameters())
        return [p.grad for p in stage.parameters() if p.grad is not None]

    truth = gradients(Stage("reference").double(), faces().double())
    ours, eager = apart(under_autocast(backend), truth), apart(under_autocast("reference"), truth)
    assert max(ours) > 1e-4, "nothing was computed in bfloat16"
    for i, (a, e) in enumerate(zip(ours, eager, strict=True)):
        assert a <= 2 * e + 2**-8, f"gradient {i}: {a:.2e} off, the reference {e:.2e}"


def check_ddp(backend: str, folder: Path, *emulator: str) -> None:
    """Two gloo processes with half of the batch each have the gradients of one with all of it, but for the sum's
    order."""
    from helpers.patience import PATIENCE  # not there where this file is run as a program

    command = [sys.executable, __file__, backend, str(folder)]
    jobs = [subprocess.Popen([*command, str(rank), *emulator], stderr=subprocess.PIPE, text=True) for rank in (0, 1)]
    for job in jobs:
        _, errors = job.communicate(timeout=PATIENCE)
        assert job.returncode == 0, errors[-3000:]
    both = [torch.load(folder / f"gradients{rank}.pt") for rank in (0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(*both, strict=True))
    assert max(apart(both[0], gradients(Stage(backend), faces()))) <= 1e-5


def main(backend: str, folder: str, rank: str, *emulator: str) -> None:
    from torch import distributed

    if emulator:
        from acdc_fast.ops.cuda import launch as cuda_launch

        cuda_launch.use(cuda_launch.Compiled(Path(emulator[0]), "cpu"))
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=int(rank), world_size=2)
    wrapped = nn.parallel.DistributedDataParallel(Stage(backend))
    half = faces().chunk(2)[int(rank)]
    torch.save(gradients(wrapped, half), f"{folder}/gradients{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
