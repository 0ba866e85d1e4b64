"""Arguments for every op, and the comparison of a backend with the float64 reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from acdc_fast import ops
from acdc_fast.ops.allocate import poison

EPS = torch.finfo(torch.float32).eps


@dataclass
class Case:
    """An op's public function, its tensors in order and the plain arguments after them."""

    op: Callable[..., Any]
    tensors: list[Tensor]  # float32
    plain: tuple[Any, ...] = ()
    tolerance: float = 32 * EPS  # of the largest magnitude of each result
    floor: float = 1e-20  # magnitude from which errors are absolute: that of terms which cancel

    def run(self, backend: str, dtype: torch.dtype, grad: bool) -> tuple[list[Tensor], list[Tensor]]:
        """Results and, with ``grad``, the gradients of all tensors for fixed random cotangents."""
        leaves = [t.detach().to(dtype).requires_grad_(grad) for t in self.tensors]
        with poison():
            results = flatten(self.op(*leaves, *self.plain, backend=backend))
            if not grad:
                return results, []
            generator = torch.Generator().manual_seed(1)
            cotangents = [torch.randn(r.shape, generator=generator).to(r.dtype) for r in results]
            return results, list(torch.autograd.grad(results, leaves, cotangents))

    def agrees(self, backend: str = "native", grad: bool = True) -> None:
        got, got_grads = self.run(backend, torch.float32, grad)
        expected, expected_grads = self.run("reference", torch.float64, grad)
        close(got, expected, self.tolerance, "result", self.floor)
        # A gradient sums over pixels or maps what the forward computes once: a few more roundings.
        close(got_grads, expected_grads, 4 * self.tolerance, "gradient", self.floor)


def flatten(results: Any) -> list[Tensor]:
    if isinstance(results, Tensor):
        return [results]
    return [t for r in results for t in flatten(r)]


def close(got: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float, what: str, floor: float = 1e-20) -> None:
    assert len(got) == len(expected)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert a.shape == b.shape, f"{what} {i}"
        assert torch.isfinite(a).all(), f"{what} {i} has {(~torch.isfinite(a)).sum()} elements that are not finite"
        scale = max(b.abs().max().item(), floor)
        error = (a.double() - b.double()).abs().max().item() / scale
        assert error <= tolerance, f"{what} {i}: {error:.3e} of its largest magnitude, allowed {tolerance:.3e}"


def from_logits(largest: float) -> float:
    """A logit's absolute error is a few ulp of the largest logit. exp makes it a relative error of the map."""
    return 4 * EPS * max(8.0, largest)


def logits_case(op: Callable[..., Any], shape: Sequence[int], spread: float = 3.0, seed: int = 0) -> Case:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(tuple(shape), generator=generator) * spread
    return Case(op, [logits], (), from_logits(logits.abs().max().item()))


def fusion_case(b: int, c: int, h: int, w: int, outputs: int | None, seed: int = 0) -> Case:
    """`dual_fusion`, or with ``outputs`` `dual_fusion_conv1x1`."""
    g = torch.Generator().manual_seed(seed)
    tensors = [
        torch.rand((b, 1, h, w), generator=g),
        torch.randn((b, c, h, w), generator=g),
        torch.rand((b, 1, h, w), generator=g),
        torch.rand((b, 2 + 2 * c), generator=g),
    ]
    if outputs is None:
        return Case(ops.dual_fusion, tensors)
    tensors += [torch.randn((outputs, 2 + 2 * c), generator=g), torch.randn(outputs, generator=g)]
    return Case(ops.dual_fusion_conv1x1, tensors)


def geometry_case(
    b: int, c: int, k: int, h: int, w: int, flat: int, solid: int, seed: int = 0, scale: float = 1.0
) -> Case:
    """``flat`` maps of the 2D stream and ``solid`` of the 3D one; every third map stays out of the mask."""
    g = torch.Generator().manual_seed(seed)
    streams, maps = int(flat > 0) + int(solid > 0), flat + solid
    tensors = [
        torch.randn((b, c, h, w), generator=g),
        torch.randn((streams, k, 3, 3), generator=g) / 3,
        torch.randn((maps, k), generator=g) * (scale / k**0.5),
    ]
    masked = [i % 3 != 1 for i in range(maps)]
    logits = ops.reference.geometry_logits(*(t.double() for t in tensors), flat)
    return Case(ops.geometry_transfer, tensors, (flat, masked), from_logits(logits.abs().max().item()))


def norm_case(b: int, c: int, h: int, w: int, mean: float = 2.0, seed: int = 0) -> Case:
    g = torch.Generator().manual_seed(seed)
    tensors = [
        torch.randn((b, c, h, w), generator=g) * 1.5 + mean,
        torch.randn(c, generator=g),
        torch.randn(c, generator=g),
    ]

    def op(x: Tensor, weight: Tensor, bias: Tensor, backend: str) -> list[Tensor]:
        mean, var = torch.zeros_like(weight).detach(), torch.ones_like(weight).detach()
        y = ops.batch_norm_relu(x, mean, var, weight, bias, backend=backend)
        return [y, y * 0 + mean[:, None, None], y * 0 + var[:, None, None]]  # with the running statistics

    return Case(op, tensors, (), 32 * EPS * max(1.0, abs(mean)))


def small_cases() -> dict[str, Case]:
    """One small case for each op."""
    return {
        "spatial_softmax": logits_case(ops.spatial_softmax, (2, 3, 5, 7)),
        "attention_mask": logits_case(ops.attention_mask, (2, 3, 5, 7)),
        "dual_fusion": fusion_case(2, 3, 5, 7, None),
        "dual_fusion_conv1x1": fusion_case(2, 3, 5, 7, 5),
        "geometry_transfer": geometry_case(2, 5, 3, 6, 7, 4, 3),
        "batch_norm_relu": norm_case(2, 3, 5, 7),
    }
