"""Triton kernels, one file for each op. This package imports neither Triton nor a driver until a kernel is used."""

from __future__ import annotations

import importlib.util
import os

import torch


def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels on the CPU. Fixed when a kernel's module is first imported."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes")


def why_not(device: str, dtype: torch.dtype) -> str | None:
    """Why these kernels cannot run on tensors of this device and dtype, with the remedy. None if they can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed: install a CUDA or ROCm build of torch, which brings it (or pip install triton)"
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"the Triton kernels serve float32, float16 and bfloat16, not {dtype}: use backend='reference'"
    if interpreted():
        return None if device == "cpu" else "TRITON_INTERPRET=1 runs kernels on the CPU alone: unset it to use the GPU"
    if device != "cuda":
        return f"Triton needs a GPU or TRITON_INTERPRET=1, not {device} tensors: use backend='native'"
    if not torch.cuda.is_available():
        return "torch sees no GPU: install a driver and a CUDA or ROCm build of torch, or use backend='native'"
    if torch.version.hip is None and torch.cuda.get_device_capability() < (8, 0):
        return "the GPU is older than compute capability 8.0, the least that Triton serves: use backend='reference'"
    return None
