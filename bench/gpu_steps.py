"""The steps of gpu_page.py, each run as a program of its own: gpu_steps.py STEP [--dry-run] RESULTS SECONDS."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import gpu_networks
import torch
from gpu_budget import Results, one_line
from gpu_cases import EXACT, Case, allowed, cases, error, mask_gradient
from gpu_model import GPUS, works
from gpu_scale import DRY, FULL, Scale, kinds
from gpu_timing import bandwidth, seconds

ROOT = Path(__file__).parents[1]
CUDA_SOURCES = ROOT / "csrc" / "cuda"
#: The engine first: it is what people run. In a dry run one test stands for all.
TESTS = ("tests/engines/test_gpu.py", "tests/cuda/test_cuda_gpu.py", "tests/kernels/test_kernels.py")
DRY_TESTS = ("tests/kernels/test_kernels.py", "-k", "two_values")


def build_cuda(target: Path, capability: int) -> None:
    """The CUDA kernels for one GPU, by nvcc without CMake: the three types at the same time."""
    types = {"float": "entries_float", "half_t": "entries_half", "bf16_t": "entries_bfloat16"}
    with tempfile.TemporaryDirectory() as folder:
        objects, jobs = [], []
        for kind, entries in types.items():
            objects.append(f"{folder}/{kind}.o")
            command = ["nvcc", "-std=c++17", "-O3", f"-gencode=arch=compute_{capability},code=sm_{capability}"]
            command += ["-Xcompiler", "-fPIC", f"-DACDC_TYPE={kind}", f"-DACDC_LIST={entries}"]
            command += ["-DACDC_COMMON"] * (kind == "float")
            jobs.append(subprocess.Popen([*command, "-c", str(CUDA_SOURCES / "launch.cu"), "-o", objects[-1]]))
        if any([job.wait() for job in jobs]):
            raise SystemExit("nvcc failed; its message stands above")
        link = ["nvcc", "-shared", "-cudart", "static", "-Xcompiler", "-fPIC,-fvisibility=hidden"]
        subprocess.run([*link, *objects, str(CUDA_SOURCES / "bindings.cpp"), "-o", str(target)], check=True)


def build(scale: Scale, results: Results) -> None:
    """The machine, and the CUDA kernels where there is nvcc."""
    import triton

    import acdc_fast

    facts = {"torch": torch.__version__, "Triton": triton.__version__, "acdc_fast": acdc_fast.__version__}
    facts |= {"Python": platform.python_version(), "CPUs": str(os.cpu_count())}
    if scale.device != "cpu":
        of = torch.cuda.get_device_properties(0)
        what = f"{of.name}, {of.multi_processor_count} multiprocessors, {of.total_memory / 2**30:.0f} GiB"
        facts = {"GPU": what} | facts
        facts["CUDA of torch"] = str(torch.version.cuda)
        if shutil.which("nvidia-smi"):
            asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
            facts["driver"] = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    results.row(facts=facts)
    if scale is DRY:
        results.note("CUDA kernels: not built, a dry run has no GPU")
    elif shutil.which("nvcc") is None:
        results.note("CUDA kernels: not built, nvcc was not found")
    else:
        begun = time.monotonic()
        major, minor = torch.cuda.get_device_capability()
        build_cuda(Path(acdc_fast.__file__).parent / "_cuda.so", 10 * major + minor)
        results.row(built=time.monotonic() - begun)
    for name, reason in kinds(scale.device).items():
        if reason:
            results.note(f"{name} kernels: not run, {reason}")


class Counter:
    """A plugin of pytest that keeps the count after each test."""

    def __init__(self, results: Results) -> None:
        self.results, self.count, self.failed = results, dict.fromkeys(("passed", "failed", "skipped"), 0), list[str]()

    def pytest_runtest_logreport(self, report: object) -> None:
        outcome, when = getattr(report, "outcome", ""), getattr(report, "when", "")
        if when == "call" or outcome != "passed":
            self.count[outcome] += 1
            if outcome == "failed":
                self.failed.append(getattr(report, "nodeid", ""))
            self.results.replace(**self.count, failures=self.failed)


def correctness(scale: Scale, results: Results) -> None:
    """The tests of kernels and engine on the GPU."""
    if importlib.util.find_spec("pytest") is None:
        results.note("tests: pytest is not installed; what is timed is compared with the reference all the same")
        return
    import pytest

    side_by_side = ["-n", "4"] if importlib.util.find_spec("xdist") and scale is not DRY else []
    chosen = [str(ROOT / DRY_TESTS[0]), *DRY_TESTS[1:]] if scale is DRY else [str(ROOT / t) for t in TESTS]
    arguments = ["-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}", *side_by_side, *chosen]
    results.replace(passed=0, failed=0, skipped=0, failures=[])
    code = pytest.main(arguments, plugins=[Counter(results)])
    if code not in (0, 1):
        raise SystemExit(f"pytest ended with {code!r}")


def of_kind(kind: str, faces: int, scale: Scale, dtype: torch.dtype = torch.float16) -> list[Case]:
    return cases(faces, dtype, scale.device, kind, scale.width, scale.side, scale.maps, scale.split)


def can_run(scale: Scale) -> list[str]:
    return [name for name, reason in kinds(scale.device).items() if reason is None]


def kernels(scale: Scale, results: Results) -> None:
    """Each kernel against its reference, then timed: replays of a CUDA graph with a cold L2."""
    rate = bandwidth(scale.device, scale.copied, scale.rounds)
    results.row(bandwidth=rate)
    name = "" if scale.device == "cpu" else torch.cuda.get_device_name()
    gpu = next((g for g in GPUS if g.name in name), None)
    runs, tile = can_run(scale), (32, 64)
    for faces in scale.batches:
        if scale.device != "cpu":
            from acdc_fast.kernels import configs, launch, tiles

            device = torch.device("cuda", torch.cuda.current_device())
            block = configs.of("cascade_transition", launch.family(device), torch.float16).pixels
            tile = tiles.tile(scale.side, scale.side, faces, launch.processors(device), block)
        model = works(scale.width, scale.side, scale.maps, tile=tile)
        by_kind: dict[str, list[Case]] = {}
        for kind in runs:
            try:
                by_kind[kind] = of_kind(kind, faces, scale)
            except Exception as failure:  # the other kind must not be lost
                results.note(f"{kind} kernels, {faces} faces: {type(failure).__name__}: {one_line(str(failure), 120)}")
        for number in range(len(next(iter(by_kind.values()), []))):
            found: dict[str, float] = {}
            for kind, listed in by_kind.items():
                case = listed[number]
                try:
                    if case.name == "attention_mask, backward":
                        off = error(mask_gradient(scale.device, kind, scale.side, scale.maps)) / EXACT
                    else:
                        off = error(case) / allowed(case, torch.float16)
                    if off > 1:
                        raise ValueError(f"{off:.1f} times the error allowed: no time")
                    found[kind] = seconds(case.ours, scale.device, scale.rounds)
                except Exception as failure:  # the other kernels must not be lost
                    results.note(f"{case.name}, {faces} faces, {kind}: {one_line(str(failure), 120)}")
            work = model[case.name]
            floor, bound = (None, None) if gpu is None else work.floor(gpu, faces)
            results.row(
                kernel=case.name, faces=faces, times=found, eager=seconds(case.reference, scale.device, scale.rounds),
                share={kind: work.bytes * faces / taken / rate for kind, taken in found.items()},
                floor=floor, bound=bound,
            )  # fmt: skip


def candidates(scale: Scale, results: Results) -> None:
    """The block sizes of kernels/configs.py that may be faster, those in use among them."""
    if "triton" not in can_run(scale):
        results.note("block sizes: the Triton kernels do not run")
        return
    from acdc_fast.kernels import configs, launch

    family = launch.family(torch.device(scale.device, 0 if scale.device != "cpu" else None))
    first = ("geometry_transfer", "cascade_transition", "geometry_transfer.backward")
    listed = sorted(of_kind("triton", scale.batches[0], scale), key=lambda c: c.kernel not in first)
    for case in listed:
        table = configs.TABLE[family][0]
        used = table[case.kernel]
        for candidate in configs.candidates(case.kernel, family, torch.float16)[: scale.tried]:
            table[case.kernel] = candidate
            try:
                taken = seconds(case.ours, scale.device, scale.rounds)
            except Exception as failure:  # more shared memory than this GPU has, say
                results.note(f"{case.name}, {candidate}: {type(failure).__name__}: {one_line(str(failure), 100)}")
                continue
            finally:
                table[case.kernel] = used
            results.row(kernel=case.name, block=asdict(candidate), seconds=taken, used=candidate == used)


STEPS = {
    "build": build, "correctness": correctness, "kernels": kernels, "cascade": gpu_networks.cascade,
    "update": gpu_networks.update, "candidates": candidates, "compiled": gpu_networks.compiled,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("results", type=Path)
    parser.add_argument("seconds", type=float)
    args = parser.parse_args()
    if not args.dry_run and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here: install a driver and a CUDA build of torch, or give --dry-run")
    STEPS[args.step](DRY if args.dry_run else FULL, Results(args.results, args.seconds))


if __name__ == "__main__":
    sys.exit(main())
