"""The ops as torch sees them: schema, fake kernels, autograd, compile, export, autocast."""

from __future__ import annotations

import pytest
import torch
from helpers.op_cases import Case, close, flatten, small_cases
from torch import Tensor, nn

from acdc_fast import ACDC, ACDCConfig, ops

CASES = small_cases()
PUBLIC = [n for n in CASES if n != "batch_norm_relu"]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", CASES)
def test_opcheck(name: str, layout: torch.memory_format) -> None:
    """Forward and backward op: schema, autograd registration, fake kernels' shapes, dtypes and strides."""
    case = CASES[name]
    tensors = [
        t.detach().contiguous(memory_format=layout if t.dim() == 4 and t.shape[1] > 1 else torch.contiguous_format)
        for t in case.tensors
    ]
    plain: tuple[object, ...] = (1e-5,) if name == "batch_norm_relu" else case.plain
    leaves = [t.clone().requires_grad_() for t in tensors]
    forward = getattr(torch.ops.acdc_fast, name)
    torch.library.opcheck(forward.default, (*leaves, *plain, "native"))
    saved = forward(*tensors, *plain, "native")
    grads = {
        "spatial_softmax": lambda: (*saved[:3], *tensors, *saved),
        "attention_mask": lambda: (saved[0], *tensors, *saved),
        "dual_fusion": lambda: (saved, *tensors, True),
        "dual_fusion_conv1x1": lambda: (saved, *tensors[:5], False),
        "geometry_transfer": lambda: (*saved[:4], *tensors, plain[0], list(saved)),
        "batch_norm_relu": lambda: (saved[0], *tensors, *saved[1:], 1e-5),
    }[name]()
    backward = getattr(torch.ops.acdc_fast, f"{name}_backward")
    torch.library.opcheck(backward.default, (*grads, "native"), test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("name", PUBLIC)
def test_gradcheck_of_the_reference(name: str) -> None:
    case = CASES[name]
    leaves = [t.detach().double().requires_grad_() for t in case.tensors]
    assert torch.autograd.gradcheck(
        lambda *xs: tuple(flatten(case.op(*xs, *case.plain, backend="reference"))), leaves, fast_mode=True
    )


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("name", PUBLIC)
def test_compile_in_one_graph(name: str, backend: str) -> None:
    """Traced without a break, forward and backward, and the same numbers."""
    case = CASES[name]

    def loss(*leaves: Tensor) -> Tensor:
        return sum((t * t).sum() for t in flatten(case.op(*leaves, *case.plain, backend=backend)))  # type: ignore[misc]

    torch._dynamo.reset()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    leaves = [t.detach().clone().requires_grad_() for t in case.tensors]
    expected, got = loss(*leaves), compiled(*leaves)
    close([got], [expected], 1e-6, "loss")
    close(torch.autograd.grad(got, leaves), torch.autograd.grad(expected, leaves), 1e-6, "gradient")


class Stage(nn.Module):
    def forward(self, image: Tensor, embedding: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
        depthwise, transfer, excitation, weight, bias = weights
        moments, mask = ops.geometry_transfer(embedding, depthwise, transfer, 4, [True] * 7, backend="native")
        return moments.mean, ops.dual_fusion_conv1x1(
            image, embedding, mask, excitation.expand(image.shape[0], -1), weight, bias, backend="native"
        )


def test_export_with_a_dynamic_batch() -> None:
    geometry, fusion = CASES["geometry_transfer"].tensors, CASES["dual_fusion_conv1x1"].tensors
    weights = [*geometry[1:], torch.rand(1, 12), torch.randn(5, 12), fusion[5]]
    embedding, image = geometry[0].detach(), torch.rand(2, 1, 6, 7)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(
        Stage(), (image, embedding, weights), dynamic_shapes=({0: batch}, {0: batch}, [None] * 5), strict=False
    )
    more = torch.rand(3, 1, 6, 7), torch.randn(3, 5, 6, 7), weights
    close(program.module()(*more), Stage()(*more), 1e-7, "result")


def test_network_compiles_and_trains_through_the_native_ops(monkeypatch: pytest.MonkeyPatch) -> None:
    """One training step: native ops in float32 against the reference in float64, losses and every gradient."""
    torch.manual_seed(0)
    net = ACDC(ACDCConfig(width=4, stages=2, markups=("2d5", "3d68"))).train()
    crops = torch.rand(2, 1, 32, 32)

    def step(network: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        loss = sum((s.landmarks["3d68"] - 0.4).abs().sum() + (s.pose * s.pose).mean() for s in network(x, True).stages)
        return loss, list(torch.autograd.grad(loss, list(network.parameters())))

    import copy

    double = copy.deepcopy(net).double()
    monkeypatch.setenv("ACDC_BACKEND", "native")
    loss, grads = step(copy.deepcopy(net), crops)
    monkeypatch.setenv("ACDC_BACKEND", "reference")
    expected, expected_grads = step(double, crops.double())
    close([loss], [expected], 1e-5, "loss")
    # Gradients through two stages of batch norm over tiny images: float32 itself is good to about 1e-4 here.
    for (name, _), a, b in zip(net.named_parameters(), grads, expected_grads, strict=True):
        close([a], [b], 2e-3, name)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_autocast_keeps_float32_inside(backend: str) -> None:
    """Ops compute in float32, also under autocast. The fused features keep the embedding's dtype."""
    case: Case = CASES["geometry_transfer"]
    embedding, *weights = case.tensors
    low = embedding.detach().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = case.op(low, *weights, *case.plain, backend=backend)
    expected = case.op(low.double(), *(w.double() for w in weights), *case.plain, backend="reference")
    assert all(t.dtype == torch.float32 for t in flatten(got))
    close(flatten(got), flatten(expected), case.tolerance, backend)
    fusion = CASES["dual_fusion_conv1x1"]
    image, embedding, *rest = fusion.tensors
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = fusion.op(image, embedding.bfloat16(), *rest, backend=backend)
    assert out.dtype == torch.bfloat16
    close([out], [fusion.op(image, embedding.bfloat16().float(), *rest, backend="reference")], 2**-8, backend)
