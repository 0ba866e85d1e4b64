"""A function of a batch as CUDA graphs: its thousands of short kernels are started at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampling.targets import Targets

Told = dict[str, Tensor]
#: Calls on a stream of their own before a source's graph is recorded, in which libraries choose their kernels and
#: optimisers make their state.
WARM = 3


@dataclass(frozen=True)
class _Recorded:
    graph: torch.cuda.CUDAGraph
    image: Tensor
    targets: Targets
    told: Told


class Captured:
    """``function(image, targets)`` of batches whose shapes depend on their source alone, a graph for each.

    The function must not wait for the device nor use state that is not on it. What it gives is overwritten by the next
    call.
    """

    def __init__(self, function: Callable[[Tensor, Targets], Told]) -> None:
        self.function, self.stream = function, torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.calls: dict[str, int] = {}
        self.recorded: dict[str, _Recorded] = {}

    def __call__(self, image: Tensor, targets: Targets, source: str) -> Told:
        calls = self.calls[source] = self.calls.get(source, 0) + 1
        if calls <= WARM:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                told = self.function(image, targets)
            torch.cuda.current_stream().wait_stream(self.stream)
            return told
        if source not in self.recorded:
            self.recorded[source] = self._record(image, targets)
        here = self.recorded[source]
        for kept, given in zip(_tensors(here.image, here.targets), _tensors(image, targets), strict=True):
            kept.copy_(given)
        here.graph.replay()
        return here.told

    def _record(self, image: Tensor, targets: Targets) -> _Recorded:
        image, targets = image.clone(), targets.map(Tensor.clone)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            told = self.function(image, targets)
        return _Recorded(graph, image, targets, told)


def _tensors(image: Tensor, targets: Targets) -> list[Tensor]:
    pose = [] if targets.pose is None else [targets.pose]
    return [image, *targets.landmarks.values(), *targets.weights.values(), *pose]
