"""Writes exported files. Torch is imported when the first is written."""

from __future__ import annotations

import io
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..checks import check_stages
from ..errors import BackendUnavailable, InputError
from ..files import written_beside
from ..metadata import resolution_of
from ..options import check_resolution
from ..weights import Weights
from .facts import facts

if TYPE_CHECKING:
    from ..network import ACDC

#: Version of ONNX's operators that the files use: ONNX Runtime reads it from 1.14 on, OpenVINO from 2023.0 on.
OPSET = 18
#: Name of the JSON of `facts` inside a `torch.export` file.
FACTS = "facts.json"


def network_of(weights: Weights, stages: int | None = None) -> ACDC:
    """The torch network that holds these weights, in eval mode, its first ``stages`` alone where asked."""
    with _torch_there():
        import torch  # noqa: F401  what is lacking is named, and not what of ours needs it

        from ..network import ACDC
    return ACDC.holding(replace(weights.config, stages=stages or weights.config.stages), weights.arrays)


def export_onnx(
    weights: Weights,
    path: str | os.PathLike[str],
    batch: int | str = "dynamic",
    stages: int | None = None,
    resolution: int | None = None,
    name: str = "",
) -> list[str]:
    """Writes ONNX that gives for ``crops`` (B, 1, S, S) what `Model.align` makes of them; gives its outputs' names.

    Points and pose are refined, in crop units and degrees; docs/guides/export.md lists the outputs and the metadata.
    ``batch``: a number, or "dynamic"; ``stages``: the first ones alone; ``resolution``: S, None: that of the weights;
    ``name``: of the weights, for the metadata. Needs torch and onnx (`pip install acdc-fast[onnx]`), else
    `BackendUnavailable`.
    """
    module, size, facts = _aligned(weights, stages, resolution, name)
    _write_onnx(module, path, batch, size, facts)
    return list(module.outputs)


def export_network(network: ACDC, path: str | os.PathLike[str], batch: int | str = "dynamic", size: int = 128) -> None:
    """Writes ONNX of a network alone: its own points and pose, without refinement and without metadata."""
    from .module import Network

    with _eval(network):
        _write_onnx(Network(network, network.config.order), path, batch, size, {})


def export_program(
    weights: Weights,
    path: str | os.PathLike[str],
    batch: int | str = "dynamic",
    stages: int | None = None,
    resolution: int | None = None,
    name: str = "",
) -> list[str]:
    """The same as `export_onnx` for `torch.export.load`, on plain torch operators; the metadata are its extra file
    "facts.json", with the names of the ``outputs``."""
    module, size, facts = _aligned(weights, stages, resolution, name)
    import torch

    with written_beside(path) as beside, _quiet():
        program = torch.export.export(module, (_example(batch, size),), dynamic_shapes=_dynamic(batch))
        text = json.dumps({**facts, "outputs": module.outputs})
        # Through memory: where the disk is full torch's own writer of files ends the process.
        data = io.BytesIO()
        torch.export.save(program, data, extra_files={FACTS: text})
        beside.write_bytes(data.getbuffer())
    return list(module.outputs)


def _aligned(
    weights: Weights, stages: int | None, resolution: int | None, name: str
) -> tuple[Any, int, dict[str, str]]:
    """The module, the side of its crops and the metadata of its file."""
    count = check_stages(stages, weights.config.stages)
    unit = weights.config.crop_unit
    own = resolution_of(weights.card, "weights", unit)
    size = check_resolution(own if resolution is None else resolution, unit=unit)
    network = network_of(weights, count)
    from .module import Aligned

    return Aligned(network, weights).eval(), size, facts(weights, name, size, count)


def _write_onnx(module: Any, path: str | os.PathLike[str], batch: int | str, size: int, facts: dict[str, str]) -> None:
    with _torch_there():
        import torch  # noqa: F401
    write_onnx(module, path, "crops", _example(batch, size), _dynamic(batch), facts)


def write_onnx(module: Any, path: str | os.PathLike[str], name: str, example: Any, dynamic: Any,
               facts: dict[str, str]) -> None:  # fmt: skip
    """A module of one input of this name, traced with ``example``, and ``facts`` as its metadata."""
    with _torch_there():
        import onnx
        import onnxscript  # noqa: F401  torch's exporter needs both
        import torch
    with written_beside(path) as beside, torch.no_grad(), _quiet():
        program = torch.onnx.export(
            module, (example,), input_names=[name], output_names=module.outputs, opset_version=OPSET,
            dynamic_shapes=dynamic, dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip
        assert program is not None
        model = program.model_proto
        onnx.helper.set_model_props(model, facts)
        onnx.save(model, str(beside))


def _example(batch: int | str, size: int) -> Any:
    """Crops to trace with. A batch of 1 would be taken for a constant, so 2 stand for any."""
    import torch

    if batch != "dynamic" and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise InputError(f"batch must be a positive number or 'dynamic', not {batch!r}")
    return torch.zeros(batch if isinstance(batch, int) else 2, 1, size, size)


def _dynamic(batch: int | str) -> Any:
    import torch

    return {"crops": {0: torch.export.Dim("batch")}} if batch == "dynamic" else None


@contextmanager
def _torch_there() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        reason = f"export needs {error.name}: pip install 'acdc-fast[onnx]'"
        raise BackendUnavailable(reason) from error


@contextmanager
def _eval(network: ACDC) -> Iterator[None]:
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


@contextmanager
def _quiet() -> Iterator[None]:
    """Ops as plain torch, for the exporter to read; it warns of torchvision, which nothing here needs, and of its own
    internals."""
    logger, before = logging.getLogger("torch.onnx"), os.environ.get("ACDC_BACKEND")
    level = logger.level
    logger.setLevel(logging.ERROR)
    os.environ["ACDC_BACKEND"] = "reference"
    try:
        with warnings.catch_warnings():
            for kind in (FutureWarning, DeprecationWarning, UserWarning):
                warnings.simplefilter("ignore", kind)
            yield
    finally:
        logger.setLevel(level)
        if before is None:
            del os.environ["ACDC_BACKEND"]
        else:
            os.environ["ACDC_BACKEND"] = before
