"""ONNX export of the eager network, on reference ops, so that any ONNX runtime can serve it."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .errors import BackendUnavailable, InputError
from .files import written_beside
from .weights import Weights, state_shapes

if TYPE_CHECKING:
    from .network import ACDC


def network_of(weights: Weights, stages: int | None = None) -> ACDC:
    """The torch network that holds these weights, in eval mode, its first ``stages`` alone where asked."""
    try:
        import torch

        from .network import ACDC
    except ImportError as error:
        raise BackendUnavailable(f"the torch network needs {error.name}: pip install 'acdc-fast[torch]'") from error
    config = replace(weights.config, stages=stages or weights.config.stages)
    network = ACDC(config)
    state = {name: torch.from_numpy(weights.arrays[name].copy()) for name in state_shapes(config)}
    network.load_state_dict(state, strict=False)  # num_batches_tracked alone is not there
    return network.eval()


def onnx_outputs(markups: tuple[str, ...], has_pose: bool) -> list[str]:
    """Names of the exported model's outputs, in order; its one input is ``crops``."""
    names = [f"{kind}_{markup}" for kind in ("landmarks", "covariance") for markup in markups]
    return [*names, *(["pose"] if has_pose else []), "mask"]


@contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter warns of torchvision, which nothing here needs, and of its own internals."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(before)


def export_onnx(
    network: ACDC,
    path: str | os.PathLike[str],
    batch: int | str = "dynamic",
    resolution: int = 128,
    markups: tuple[str, ...] | None = None,
) -> None:
    """Writes ``crops`` (B, 1, S, S) → `onnx_outputs`, units as in `Prediction`. ``batch``: a number, or "dynamic".

    Needs torch and onnx (`pip install acdc-fast[onnx]`), else `BackendUnavailable`.
    """
    try:
        import onnx  # noqa: F401  torch's exporter needs both
        import onnxscript  # noqa: F401
        import torch
    except ImportError as error:
        reason = f"export to ONNX needs {error.name}: pip install 'acdc-fast[onnx]'"
        raise BackendUnavailable(reason) from error
    if batch != "dynamic" and (not isinstance(batch, int) or batch < 1):
        raise InputError(f"batch must be a positive number or 'dynamic', not {batch!r}")
    chosen = network.config.order if markups is None else markups
    names = onnx_outputs(chosen, network.config.has_pose)

    class Flat(torch.nn.Module):
        """Prediction as a plain tuple of tensors."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, ...]:
            p = self.network(crops)
            parts: list[Any] = [p.landmarks[m] for m in chosen] + [p.covariance[m] for m in chosen]
            return tuple([*parts, *([] if p.pose is None else [p.pose]), p.mask])

    # A batch of 1 would be taken for a constant while tracing.
    example = torch.zeros(batch if isinstance(batch, int) else 2, 1, resolution, resolution)
    dynamic = {"crops": {0: torch.export.Dim("batch")}} if batch == "dynamic" else None
    before, training = os.environ.get("ACDC_BACKEND"), network.training
    os.environ["ACDC_BACKEND"] = "reference"
    try:
        with written_beside(path) as beside, torch.no_grad(), _quiet():
            torch.onnx.export(
                Flat().eval(), (example,), str(beside), input_names=["crops"], output_names=names,
                dynamic_shapes=dynamic, dynamo=True, external_data=False, verbose=False,
            )  # fmt: skip
    finally:
        network.train(training)
        if before is None:
            del os.environ["ACDC_BACKEND"]
        else:
            os.environ["ACDC_BACKEND"] = before
