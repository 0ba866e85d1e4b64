"""The runtimes that are compared on the CPU. Each takes the same network and gives a function of crops.

A contestant is made by a function of `Subject`. It raises ImportError if it is not installed, or `Unavailable` if it
cannot run. The table then says so. The functions take (B, 1, S, S) float32 numpy and return {output name: array}.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ncnn_network import ForNcnn
from openvino_process import Process, open_model

from acdc_fast import ACDC
from acdc_fast.engines.native import NativeEngine
from acdc_fast.errors import BackendUnavailable
from acdc_fast.export.module import Network

# Eager, and networks compiled or exported from it, use plain torch, not our fused ops.
os.environ["ACDC_BACKEND"] = "reference"

Call = Callable[[np.ndarray], dict[str, np.ndarray]]


class Unavailable(Exception):
    """The runtime is installed but cannot run this. The message says why."""


@dataclass(frozen=True)
class Subject:
    network: ACDC
    onnx: Path
    batch: int
    threads: int

    @property
    def outputs(self) -> list[str]:
        return list(Network(self.network, self.network.config.order).outputs)


def named(prediction: Any) -> dict[str, np.ndarray]:
    """The parts of a Prediction, by the ONNX model's output names."""
    out = {f"landmarks_{k}": np.asarray(v) for k, v in prediction.landmarks.items()}
    out.update({f"covariance_{k}": np.asarray(v) for k, v in prediction.covariance.items()})
    if prediction.pose is not None:
        out["pose"] = np.asarray(prediction.pose)
    return {**out, "mask": np.asarray(prediction.mask)}


def ours(s: Subject) -> Call:
    arrays = {name: tensor.numpy() for name, tensor in s.network.state_dict().items()}
    engine = NativeEngine(s.network.config, arrays, threads=s.threads)
    return lambda x: named(engine(x))


def ours_avx2(s: Subject) -> Call:
    arrays = {name: tensor.numpy() for name, tensor in s.network.state_dict().items()}
    engine = NativeEngine(s.network.config, arrays, threads=s.threads, isa="avx2")
    return lambda x: named(engine(x))


def ours_bf16(s: Subject) -> Call:
    arrays = {name: tensor.numpy() for name, tensor in s.network.state_dict().items()}
    try:
        engine = NativeEngine(s.network.config, arrays, threads=s.threads, dtype="bfloat16")
    except BackendUnavailable as reason:
        raise Unavailable(str(reason)) from reason
    return lambda x: named(engine(x))


def eager(s: Subject, layout: torch.memory_format = torch.contiguous_format) -> Call:
    network = ACDC(s.network.config).eval()
    network.load_state_dict(s.network.state_dict())
    network = network.to(memory_format=layout)

    def call(x: np.ndarray) -> dict[str, np.ndarray]:
        torch.set_num_threads(s.threads)
        with torch.inference_mode():
            return named(network(torch.from_numpy(x).to(memory_format=layout)))

    return call


def eager_channels_last(s: Subject) -> Call:
    return eager(s, torch.channels_last)


def compiled(s: Subject) -> Call:
    torch.set_num_threads(s.threads)
    torch._dynamo.reset()
    torch._inductor.config.freezing = True
    network = torch.compile(s.network, dynamic=False)

    def call(x: np.ndarray) -> dict[str, np.ndarray]:
        torch.set_num_threads(s.threads)
        with torch.no_grad():
            return named(network(torch.from_numpy(x)))

    return call


def onnxruntime(s: Subject) -> Call:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = s.threads, 1
    session = ort.InferenceSession(str(s.onnx), options, providers=["CPUExecutionProvider"])
    return lambda x: dict(zip(s.outputs, session.run(s.outputs, {"crops": x}), strict=True))


def openvino(s: Subject, precision: str = "f32") -> Call:
    request = open_model(str(s.onnx), s.batch, s.threads, precision).create_infer_request()

    def call(x: np.ndarray) -> dict[str, np.ndarray]:
        results = request.infer([x], share_inputs=True, share_outputs=True)
        return {name: results[name] for name in s.outputs}

    return call


def openvino_avx2(s: Subject) -> Call:
    import openvino as _  # noqa: F401

    process = Process(s.onnx, s.batch, s.threads, s.outputs, {"ONEDNN_MAX_CPU_ISA": "AVX2"})
    if wide := sorted(k for k in process.kernels if "avx512" in k or "amx" in k):
        raise Unavailable(f"not to be forced to AVX2: it still runs {', '.join(wide)}")
    return process


def openvino_bf16(s: Subject) -> Call:
    return openvino(s, "bf16")


def mnn(s: Subject) -> Call:
    import MNN

    path = s.onnx.with_suffix(".mnn")
    if not path.exists():
        command = [sys.executable, "-m", "MNN.tools.mnnconvert", "-f", "ONNX", "--modelFile", str(s.onnx)]
        command += ["--MNNModel", str(path), "--bizCode", "acdc"]
        run = subprocess.run(command, capture_output=True, text=True)
        if not path.exists():
            raise Unavailable(f"its converter failed: {(run.stderr or run.stdout).strip()[-200:]}")
    runtime = MNN.nn.create_runtime_manager(({"backend": 0, "precision": "high", "numThread": s.threads},))
    module = MNN.nn.load_module_from_file(str(path), ["crops"], s.outputs, runtime_manager=runtime, shape_mutable=False)

    def call(x: np.ndarray) -> dict[str, np.ndarray]:
        value = MNN.expr.const(x, list(x.shape), MNN.expr.NCHW)
        results = module.forward([MNN.expr.convert(value, MNN.expr.NC4HW4)])
        return {name: MNN.expr.convert(r, MNN.expr.NCHW).read() for name, r in zip(s.outputs, results, strict=True)}

    return call


def ncnn(s: Subject) -> Call:
    import ncnn
    import pnnx

    path = s.onnx.with_suffix(".pt")
    parameters, weights = (path.with_name(f"{path.stem}.ncnn.{kind}") for kind in ("param", "bin"))
    if not weights.exists():
        crop = torch.rand(1, 1, 128, 128)
        with torch.no_grad():
            torch.jit.trace(ForNcnn(s.network).eval(), crop, check_trace=False).save(str(path))
        command = [str(Path(pnnx.__file__).with_name("pnnx")), path.name, "inputshape=[1,1,128,128]", "fp16=0"]
        run = subprocess.run(command, capture_output=True, text=True, cwd=path.parent)
        if not weights.exists():
            raise Unavailable(f"its converter failed: {(run.stderr or run.stdout).strip()[-200:]}")
    net = ncnn.Net()
    net.opt.num_threads = s.threads
    for low_precision in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{low_precision}", False)
    net.load_param(str(parameters))
    net.load_model(str(weights))
    slices = s.network.config.slices

    def one(crop: np.ndarray) -> dict[str, np.ndarray]:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(crop).clone())
        moments, pose, mask = (np.array(extractor.extract(f"out{i}")[1]) for i in range(3))
        landmarks = {f"landmarks_{name}": moments[part, :2] for name, part in slices.items()}
        return {**landmarks, "pose": pose * 90, "mask": mask}

    def call(x: np.ndarray) -> dict[str, np.ndarray]:
        faces = [one(crop) for crop in x]  # ncnn has no batches
        return {name: np.stack([face[name] for face in faces]) for name in faces[0]}

    return call


#: Row of the table → maker, and allowed error of its landmarks (crop units): float32's contract; bfloat16 has 8 bits.
CONTESTANTS: dict[str, tuple[Callable[[Subject], Call], float]] = {
    "ours (float32)": (ours, 2e-5),
    "ours (bfloat16)": (ours_bf16, 2e-2),
    "ours, forced to AVX2": (ours_avx2, 2e-5),
    "eager": (eager, 2e-5),
    "eager, channels last": (eager_channels_last, 2e-5),
    "torch.compile, freezing": (compiled, 2e-5),
    "ONNX Runtime": (onnxruntime, 2e-5),
    "OpenVINO f32": (openvino, 2e-5),
    "OpenVINO f32, forced to AVX2": (openvino_avx2, 2e-5),
    "OpenVINO bf16": (openvino_bf16, 2e-2),
    "MNN": (mnn, 1e-4),
    "ncnn": (ncnn, 2e-5),
}
