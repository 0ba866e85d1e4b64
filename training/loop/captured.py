"""A function of a batch as CUDA graphs: one launch starts its thousands of short kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampling.targets import Targets

Losses = dict[str, Tensor]
#: Calls on a separate stream before a source's graph is recorded. In these, libraries choose their kernels and
#: optimisers make their state.
WARM = 3


@dataclass(frozen=True)
class _Recorded:
    graph: torch.cuda.CUDAGraph
    image: Tensor
    targets: Targets
    losses: Losses


class Captured:
    """``function(image, targets)`` recorded as one graph for each source. A source's batches must all have one shape.

    The function must not wait for the device, nor use state outside the device. Each call overwrites the tensors that
    the last one returned.
    """

    def __init__(self, function: Callable[[Tensor, Targets], Losses]) -> None:
        self.function, self.stream = function, torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.calls: dict[str, int] = {}
        self.recorded: dict[str, _Recorded] = {}

    def __call__(self, image: Tensor, targets: Targets, source: str) -> Losses:
        calls = self.calls[source] = self.calls.get(source, 0) + 1
        if calls <= WARM:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                losses = self.function(image, targets)
            torch.cuda.current_stream().wait_stream(self.stream)
            return losses
        if source not in self.recorded:
            self.recorded[source] = self._record(image, targets)
        here = self.recorded[source]
        for kept, given in zip(_tensors(here.image, here.targets), _tensors(image, targets), strict=True):
            kept.copy_(given)
        here.graph.replay()
        return here.losses

    def _record(self, image: Tensor, targets: Targets) -> _Recorded:
        image, targets = image.clone(), targets.map(Tensor.clone)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            losses = self.function(image, targets)
        return _Recorded(graph, image, targets, losses)


def _tensors(image: Tensor, targets: Targets) -> list[Tensor]:
    others = [labels for labels in (targets.pose, targets.wide) if labels is not None]
    return [image, *targets.landmarks.values(), *targets.weights.values(), *others]
