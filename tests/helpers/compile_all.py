"""Compiles every Triton kernel for GPUs that are not there and reports what came out, as JSON on stdout.

Run as a program of its own: one process cannot both interpret kernels and compile them. Launches are recorded from the
kernels' own host functions on meta tensors, so that what is compiled is specialised as it would be at run time.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from acdc_fast.kernels import (
    attention_mask,
    cascade_transition,
    configs,
    dual_fusion,
    dual_fusion_conv1x1,
    geometry_transfer,
    launch,
    spatial_softmax,
)

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
POINTERS = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.int32: "*i32"}
B, C, L, SPLIT, SIDE, K = 8, 64, 239, 171, 128, 48
BIN = Path(triton.__file__).parent / "backends/nvidia/bin"

#: Loads of 16 bytes and products of matrices, in PTX and in the machine code made of it. To print machine code takes as
#: long as to compile, so the whole run alone reads it (`--whole`).
PTX = {
    "wide": r"\bld\.global\S*\.(v4\.b32|v2\.b64)|\bcp\.async\.(cg\.shared\.global .*, 0x10|bulk)",
    "matrix": r"\b(mma\.sync|wgmma\.mma_async|tcgen05\.mma)",
}
SASS = {
    "wide": r"\b(LDG\.E\S*\.128|LDGSTS\S*\.128|UBLKCP|UTMALDG)",
    "matrix": r"\b(HMMA|HGMMA|UTCHMMA|UTCQMMA|UTCMMA|QGMMA)",
}

Launch = tuple[str, JITFunction, dict, dict]
Job = tuple[str, str, bool, str, int]  # family, dtype, channels last, name, number of the candidate (−1: configs.TABLE)


def operations(dtype: torch.dtype, last: bool) -> None:
    """Every launch of the package once, on meta tensors with the network's sizes."""

    def image(channels: int) -> torch.Tensor:
        x = torch.empty(B, channels, SIDE, SIDE, dtype=dtype, device="meta")
        return x.contiguous(memory_format=torch.channels_last) if last else x

    def small(*shape: int, kind: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.empty(shape, dtype=kind, device="meta")

    def places() -> torch.Tensor:
        return small(B, L, kind=torch.int32)

    logits, embedding, stem = image(L), image(C), image(C)
    plane, winner = small(B, 1, SIDE, SIDE), small(B, SIDE, SIDE, kind=torch.int32)
    mean, covariance, peak = small(B, L, 2), small(B, L, 3), small(B, L)
    moments = (mean, covariance, peak)
    spatial_softmax.forward(logits)
    spatial_softmax.backward(*moments, logits, *moments, peak, places())
    attention_mask.forward(logits)
    attention_mask.backward(plane, logits, plane, peak, peak, places(), places(), winner)
    f = small(B, 2 + 2 * C)
    dual_fusion.forward(plane, embedding, plane, f)
    dual_fusion.backward(image(2 + 2 * C), plane, embedding, plane, f, True)
    weight = small(C, 2 + 2 * C)
    dual_fusion_conv1x1.forward(plane, embedding, plane, f, weight, small(C))
    dual_fusion_conv1x1.backward(stem, plane, embedding, plane, f, weight, True)
    depthwise, transfer = small(2, K, 3, 3), small(L, K)
    geometry_transfer.forward(embedding, depthwise, transfer, SPLIT, [True] * L)
    geometry_transfer.backward(
        *moments, plane, embedding, depthwise, transfer, SPLIT, *moments, plane, peak, peak, places(), places(), winner
    )
    layers = geometry_transfer.pack(depthwise, transfer, SPLIT, embedding)
    geometry_transfer.statistics(embedding, layers, places=False)
    for mask in (False, True):
        stem_weight = weight.t().contiguous().to(dtype)
        cascade_transition.transition(embedding, layers, peak, peak, image(1), f, stem_weight, small(C), mask)
    cascade_transition.mask_of(embedding, layers, peak, peak)


def launches(family: str, dtype: torch.dtype, last: bool) -> list[Launch]:
    """(name, kernel, arguments, compiler options) of each launch."""
    found: dict[str, Launch] = {}

    class Recorder:
        def __init__(self, fn: JITFunction) -> None:
            self.fn = fn

        def __call__(self, *args: object, **kwargs: object) -> None:
            options = {k: kwargs.pop(k) for k in ("num_warps", "num_stages") if k in kwargs}
            given = dict(zip(self.fn.arg_names, args, strict=False)) | kwargs
            flags = [k for k, v in given.items() if isinstance(v, bool) and v]
            name = ".".join([self.fn.fn.__module__.split(".")[-1], self.fn.fn.__name__, *flags])
            found[name + (".last" if last else "")] = (name, self.fn, given, options)

    before = JITFunction.__getitem__, launch.family
    JITFunction.__getitem__ = lambda self, grid: Recorder(self)
    launch.family = lambda device: family
    try:
        operations(dtype, last)
    finally:
        JITFunction.__getitem__, launch.family = before
    return [(name, *rest[1:]) for name, rest in found.items()]


def source(fn: JITFunction, given: dict) -> ASTSource:
    """Specialised as at run time: ones are constants, multiples of 16 are marked."""
    signature, constants, attributes = {}, {}, {}
    for i, (name, parameter) in enumerate(zip(fn.arg_names, fn.params, strict=True)):
        value = given[name]
        if parameter.is_constexpr or (isinstance(value, int) and value == 1):
            signature[name], constants[name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name], attributes[(i,)] = POINTERS[value.dtype], [["tt.divisibility", 16]]
        else:
            signature[name] = "i32" if abs(value) < 2**31 else "i64"
            if value % 16 == 0:
                attributes[(i,)] = [["tt.divisibility", 16]]
    return ASTSource(fn, signature, constants, attributes)


def nvidia(asm: dict, shared: int, whole: bool) -> dict:
    ptx, found = asm["ptx"], {}
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(asm["cubin"])
        file.flush()

        def told(what: str) -> str:
            command = [BIN / "cuobjdump", what, file.name]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout

        numbers = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", told("-res-usage")))
        if whole:
            code = told("-sass")
            found["machine code"] = {kind: bool(re.search(pattern, code)) for kind, pattern in SASS.items()}
    return found | {
        "registers": int(numbers["REG"]),
        "spill": int(numbers["STACK"]) + int(numbers["LOCAL"]),
        "shared": shared,
        **{kind: bool(re.search(pattern, ptx)) for kind, pattern in PTX.items()},
    }


def amd(asm: dict, shared: int, _: bool) -> dict:
    text = asm["amdgcn"]

    def number(key: str) -> int:
        return int(re.search(rf"\.{key}:\s*(\d+)", text).group(1))

    return {
        "registers": number("vgpr_count"),
        "spill": number("vgpr_spill_count") + number("private_segment_fixed_size"),
        "shared": shared,
        "wide": bool(re.search(r"(global|buffer)_load_dwordx4", text)),
        "matrix": "v_mfma" in text,
    }


#: Kernels (channels last) that change with the configurations in `configs.CANDIDATES`.
TUNED = {
    "spatial_softmax": "spatial_softmax.(statistics_kernel.MOMENTS|gradient_kernel)$",
    "attention_mask": "attention_mask.mask_kernel",
    "dual_fusion": r"dual_fusion\.",
    "dual_fusion_conv1x1": "dual_fusion_conv1x1.stem_kernel",
    "geometry_transfer": "geometry_transfer.statistics_kernel",
    "geometry_transfer.backward": "geometry_transfer_backward.(stream|transfer)_gradient_kernel",
    "cascade_transition": "cascade_transition.transition_kernel.(MASK.WINNER|STEM)",
}


@contextmanager
def candidate(number: int, family: str, dtype: str) -> Iterator[str]:
    """Within it the candidate of this number is its kernel's configuration. Gives the kernel's name."""
    pairs = [(kernel, c) for kernel in TUNED for c in configs.candidates(kernel, family, DTYPES[dtype])]
    kernel, config = pairs[number]
    table = configs.TABLE[family][dtype == "fp32"]
    before, table[kernel] = table[kernel], config
    try:
        yield kernel
    finally:
        table[kernel] = before


def wanted(whole: bool) -> Iterator[Job]:
    """Each case once: layouts only if a kernel's blocks depend on them, types only if its storage does.

    Candidates in bfloat16 only in the whole run: they have the blocks and the sizes of those in float16.
    """
    for family, dtype, last in product(TARGETS, DTYPES, (False, True)):
        for name, *_ in launches(family, DTYPES[dtype], last):
            both_layouts = re.match(r"(spatial_softmax.(stat|grad)|attention_mask.(mask_k|grad)|dual_fusion\.)", name)
            any_type = re.search(r"finish_kernel|mask_sums", name)
            if (last or both_layouts) and (dtype == "fp16" or not any_type):
                yield family, dtype, last, name, -1
    for family, dtype in product(TARGETS, DTYPES if whole else ("fp16",)):
        for number in range(sum(len(configs.candidates(k, family, DTYPES[dtype])) for k in TUNED)):
            with candidate(number, family, dtype) as kernel:
                used = configs.of(kernel, family, DTYPES[dtype])
                if used != SHIPPED[family, dtype, kernel]:  # compiled above
                    for name, *_ in launches(family, DTYPES[dtype], True):
                        if re.match(TUNED[kernel], name.removesuffix(".last")):
                            yield family, dtype, True, name, number


SHIPPED = {(f, d, k): configs.of(k, f, DTYPES[d]) for f in TARGETS for d in DTYPES for k in TUNED}


def compile_one(job: Job, whole: bool = False) -> tuple[str, dict]:
    family, dtype, last, name, number = job
    suffix = ""
    with ExitStack() as stack:
        if number >= 0:
            c = configs.of(stack.enter_context(candidate(number, family, dtype)), family, DTYPES[dtype])
            suffix = f"@{c.pixels},{c.maps},{c.warps},{c.stages}"
        found = {key: rest for key, *rest in launches(family, DTYPES[dtype], last)}
    fn, given, options = found[name]
    compiled = triton.compile(source(fn, given), target=TARGETS[family], options=options)
    read = nvidia if family.startswith("sm") else amd
    facts = read(compiled.asm, compiled.metadata.shared, whole)
    return f"{name}{suffix}/{dtype}/{family}", facts | {"warps": options.get("num_warps", 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="regular expression on kernel/dtype/target")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--whole", action="store_true", help="candidates in bfloat16 too, and the machine code is read")
    options = parser.parse_args()
    jobs = [j for j in wanted(options.whole) if re.search(options.only, f"{j[3]}{'@' * (j[4] >= 0)}/{j[1]}/{j[0]}")]
    with ProcessPoolExecutor(options.workers) as pool:
        results = {}
        for name, facts in pool.map(partial(compile_one, whole=options.whole), jobs):
            results[name] = facts
            print(f"{len(results)} of {len(jobs)}: {name} {facts}", file=sys.stderr, flush=True)
    json.dump(results, sys.stdout, indent=0, sort_keys=True)


if __name__ == "__main__":
    main()
