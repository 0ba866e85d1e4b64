"""OpenVINO in a separate process, because ONEDNN_MAX_CPU_ISA, which forces its instruction set, is for a whole process.

For each pickled array on stdin, the process writes the pickled {output name: array} to stdout. Its first answer is the
kinds of its kernels.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np


def open_model(onnx: str, batch: int, threads: int, precision: str) -> Any:
    import openvino as ov

    core = ov.Core()
    model = core.read_model(onnx)
    side = 128
    model.reshape({0: [batch, 1, side, side]})
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    return core.compile_model(model, "CPU", settings)


def kernels_of(compiled: Any) -> set[str]:
    """The kinds of kernels that a compiled model runs, such as "brgconv_avx2_f32"."""
    nodes = (node.get_rt_info() for node in compiled.get_runtime_model().get_ops())
    return {info["primitiveType"].astype(str) for info in nodes if "primitiveType" in info}


class Process:
    """A child that runs an ONNX model through OpenVINO, with additions to its environment."""

    def __init__(self, onnx: Path, batch: int, threads: int, outputs: list[str], environment: dict[str, str]) -> None:
        command = [sys.executable, __file__, str(onnx), str(batch), str(threads), *outputs]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **environment}
        )
        self.kernels: set[str] = self._read()

    def _read(self) -> Any:
        assert self._child.stdout is not None
        return pickle.load(self._child.stdout)

    def __call__(self, x: np.ndarray) -> dict[str, np.ndarray]:
        assert self._child.stdin is not None
        pickle.dump(x, self._child.stdin)
        self._child.stdin.flush()
        out: dict[str, np.ndarray] = self._read()
        return out

    def __del__(self) -> None:
        self._child.kill()
        self._child.wait()


def main(onnx: str, batch: str, threads: str, *outputs: str) -> None:
    answers: IO[bytes] = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the library's own prints must not mix with answers
    compiled = open_model(onnx, int(batch), int(threads), "f32")

    def answer(value: object) -> None:
        pickle.dump(value, answers)
        answers.flush()

    answer(kernels_of(compiled))
    request: Callable[..., Any] = compiled.create_infer_request().infer
    while True:
        try:
            x = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        results = request([x], share_inputs=True, share_outputs=True)
        answer({name: np.asarray(results[name]) for name in outputs})


if __name__ == "__main__":
    main(*sys.argv[1:])
