"""One process or several (`torchrun`). At the same global batch the loss curve is the same, to rounding.

Each process gets an equal share of the batch. Batch norm uses the statistics of the whole batch, and DDP averages the
gradients. With the setting `local`, processes only average their weights now and then: another curve, less waiting.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from acdc_fast.errors import InputError


@dataclass(frozen=True)
class World:
    """This process and the number of all processes of the run."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """This process's part of a global batch."""
        if batch % self.size:
            raise InputError(f"a batch of {batch} faces cannot be shared equally by {self.size} processes")
        part = batch // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
            values = values / self.size
        return values

    @torch.no_grad()
    def unite(self, networks: list[nn.Module]) -> None:
        """Replaces parameters and running statistics of each network by their mean over all processes."""
        if self.size == 1:
            return
        values = [v for n in networks for v in (*n.parameters(), *n.buffers()) if v.is_floating_point()]
        means = self.mean(torch.cat([v.flatten() for v in values]))
        for value, mean in zip(values, _split(means, values), strict=True):
            value.copy_(mean)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        votes = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(votes)
        return bool(votes > 0)

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()

    def __enter__(self) -> World:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        """Leaves the group. Waits for all processes first, because one may still read from this one's connection.

        Does not wait if this process failed: the others would never come.
        """
        if failure is None:
            self.barrier()
        if self.size > 1:
            dist.destroy_process_group()


def join(device: str) -> World:
    """Device "auto", "cpu" or "cuda". Under torchrun joins the group: nccl between GPUs, gloo between CPUs."""
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    cuda = torch.cuda.is_available() if device == "auto" else device.startswith("cuda")
    if cuda and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch sees no CUDA device; try --device cpu")
    chosen = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if cuda else "cpu")
    if cuda:
        torch.cuda.set_device(chosen)
        torch.backends.cudnn.benchmark = True  # crops of one size for thousands of updates
    if size > 1:
        dist.init_process_group("nccl" if cuda else "gloo")
    return World(rank, size, chosen)


def lost(error: Exception) -> str | None:
    """What is gone, in words, if the error was raised because another process of the run ended. Else None.

    Torch has no class for it: gloo's connections raise a plain `RuntimeError`.
    """
    if isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error)):
        return "another process of this run ended or cannot be reached; its own lines say why"
    return None


def data_parallel(network: nn.Module, world: World) -> nn.Module:
    """The network as DDP with synchronised batch norm. With one process, the network itself."""
    if world.size == 1:
        return network
    if world.device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    else:
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = _SharedBatchNorm
    devices = [world.device.index] if world.device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=devices, find_unused_parameters=True)


class _SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over equal parts on several processes, for the CPU: PyTorch's own does not run there."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        count = x.numel() // x.shape[1] * dist.get_world_size()
        mean = _mean(x.mean((0, 2, 3)))
        centred = x - mean[:, None, None]
        variance = _mean(centred.square().mean((0, 2, 3)))
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale[:, None, None] + self.bias[:, None, None]


def _split(flat: Tensor, like: list[Tensor]) -> list[Tensor]:
    """One long vector → pieces of the shapes of ``like``."""
    return [p.view_as(v) for p, v in zip(torch.split(flat, [v.numel() for v in like]), like, strict=True)]


class _Sum(torch.autograd.Function):
    """Sum over processes. The gradient is the sum of the gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _mean(x: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return total / dist.get_world_size()
