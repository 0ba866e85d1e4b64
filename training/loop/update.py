"""One update of a training run, from a batch to new weights, in order of execution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from acdc_fast.errors import InputError
from acdc_fast.network import ACDC

from ..sampling.targets import Targets
from ..schedule import learning_rate
from .captured import Captured, Losses
from .losses import cascade_loss
from .run import Run


class Unsound(InputError):
    """The weights are no longer numbers, so they must not take the place of an earlier checkpoint."""


class Update:
    """Updates a run, one batch for each call."""

    def __init__(self, run: Run) -> None:
        self.run = run
        # An update is thousands of short kernels; a graph starts them at once. DDP's hooks cannot be recorded.
        alone = run.parallel is run.network
        on_gpu = run.settings.on_device and run.world.device.type == "cuda"
        self.captured = Captured(self.learn) if on_gpu and alone else None

    def __call__(self, image: Tensor, targets: Targets, source: str) -> None:
        """One update on this process's share of a batch from one database: (B, 1, S, S) in [0, 1], and its labels.

        Raises `Unsound` if the gradient is not finite.
        """
        run, settings, optimiser = self.run, self.run.settings, self.run.settings.optimiser
        run.parallel.train()
        if settings.fixed_norm:
            hold_norm(run.network)
        run.optimiser.schedule(learning_rate(run.step, settings.updates, 1.0, optimiser.power, optimiser.warmup))
        losses = self.learn(image, targets) if self.captured is None else self.captured(image, targets, source)
        run.step += 1
        if run.average:
            run.average.update(run.network, run.step)
        if settings.local and (run.step % settings.local == 0 or run.step == settings.updates):
            run.world.unite([run.network, *([run.average.network] if run.average else [])])
        run.meters.add({f"{source}/{name}": value for name, value in losses.items()})

    def learn(self, image: Tensor, targets: Targets) -> Losses:
        """Forward, loss, backward and optimiser step. Returns the loss, its parts and the norm of the gradient."""
        run, loss = self.run, self.run.settings.loss
        # A recorded update must cast the weights again each time: a cached cast would be an old one.
        with torch.autocast(
            run.world.device.type, torch.bfloat16, enabled=run.settings.bf16, cache_enabled=self.captured is None
        ):
            prediction = run.parallel(image, all_stages=True)
        total, parts = cascade_loss(prediction, targets, loss.pose, loss.markups, loss.stages, loss.spread, loss.wide)
        run.optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        norm = clip_grad_norm_(run.network.parameters(), run.settings.optimiser.clip or float("inf"))
        if self.captured is None and not torch.isfinite(norm):
            raise _unsound(f"update {run.step}: the gradient is not finite (loss {total.item():.4g})")
        run.optimiser.step()
        return {"loss": total.detach(), "gradient": norm, **parts}

    def check(self) -> None:
        """Raises `Unsound` if recorded updates made a weight infinite or NaN. They cannot check while they run."""
        run = self.run
        if self.captured and not all(bool(torch.isfinite(p).all()) for p in run.network.parameters()):
            raise _unsound(f"a weight is not finite after update {run.step}")


def hold_norm(network: ACDC) -> None:
    """Sets batch norm to inference mode, and changes nothing else."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # synchronised ones as well
            module.eval()


def _unsound(what: str) -> Unsound:
    return Unsound(f"{what}; lower optimiser.rate or set optimiser.clip, and resume from the last checkpoint")
