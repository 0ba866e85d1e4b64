"""nvcc and NVRTC: every kernel compiles without a warning or a spill, and the code has the intended instructions."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch
from helpers.emulator_build import SOURCES

from acdc_fast.ops.cuda import launch as cuda_launch
from acdc_fast.ops.cuda import nvrtc as cuda_nvrtc
from acdc_fast.ops.cuda.launch import Compiled

TYPES = {"float": "entries_float", "half_t": "entries_half", "bf16_t": "entries_bfloat16"}
TABLE = Path(__file__).parent / "registers.json"
#: Type → kernel → registers on each of ARCHS.
REGISTERS: dict[str, dict[str, list[int]]] = json.loads(TABLE.read_text())
ARCHS = (80, 90, 100)

needs_nvcc = pytest.mark.skipif(
    shutil.which("nvcc") is None, reason="nvcc is not installed: kernels are not compiled ahead here"
)


def resources(report: str, arch: int) -> dict[str, tuple[int, int, int]]:
    """Kernel → bytes of stack, bytes spilled, registers, from ptxas -v."""
    pattern = re.compile(
        rf"Compiling entry function '_Z\d+(\w+?)I[^']*' for 'sm_{arch}'\n.*?\n\s+(\d+) bytes stack frame, "
        r"(\d+) bytes spill stores.*?\n.*?Used (\d+) registers"
    )
    return {m[1]: (int(m[2]), int(m[3]), int(m[4])) for m in pattern.finditer(report)}


def build(folder: Path) -> dict[str, str]:
    """Objects of each type in ``folder``, with code for all of ARCHS; ptxas's reports."""
    jobs = {}
    for kind, entries in TYPES.items():
        command = ["nvcc", "-std=c++17", "-O3", "-Xptxas", "-v", "-Werror", "all-warnings"]
        command += ["-Xcompiler", "-Wall,-Wextra,-fPIC", *(f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHS)]
        command += [f"-DACDC_TYPE={kind}", f"-DACDC_LIST={entries}", *["-DACDC_COMMON"] * (kind == "float")]
        command += ["-c", str(SOURCES / "launch.cu"), "-o", str(folder / f"{kind}.o")]
        jobs[kind] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    reports = {kind: job.communicate()[0] for kind, job in jobs.items()}
    for kind, job in jobs.items():
        assert job.returncode == 0, reports[kind][-4000:]
    return reports


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Folder of objects and ptxas's report of each type."""
    folder = tmp_path_factory.mktemp("nvcc")
    return folder, build(folder)


@needs_nvcc
@pytest.mark.parametrize("arch", ARCHS)
def test_no_spill_and_no_more_registers_than_before(built: tuple[Path, dict[str, str]], arch: int) -> None:
    """A kernel may take 8 more registers than tests/cuda/registers.json has before someone has to look at it; after a
    change that is meant `python tests/cuda/test_cuda_compiled.py` writes the table anew."""
    for kind, report in built[1].items():
        table = resources(report, arch)
        assert set(table) == set(REGISTERS[kind]), f"{kind}: other kernels than registers.json names"
        for kernel, (stack, spilled, registers) in table.items():
            assert stack == 0 and spilled == 0, f"{kernel}<{kind}>: {stack} bytes of stack, {spilled} spilled"
            before = REGISTERS[kind][kernel][ARCHS.index(arch)]
            assert registers <= before + 8, f"{kernel}<{kind}> on sm_{arch}: {registers} registers, had {before}"


@needs_nvcc
def test_wide_loads_and_matrix_instructions(tmp_path: Path) -> None:
    out = tmp_path / "half.ptx"
    subprocess.run(
        ["nvcc", "-std=c++17", "-O3", "-ptx", "-arch=compute_90", "-DACDC_TYPE=half_t", "-DACDC_LIST=entries_half",
         str(SOURCES / "launch.cu"), "-o", str(out)],
        check=True,
    )  # fmt: skip
    text = out.read_text()
    parts = re.split(r"\.visible \.entry _Z\d+", text)[1:]
    kernels = {re.match(r"\w+?(?=I)", p)[0]: p for p in parts}  # type: ignore[index]
    for name, code in kernels.items():
        if re.search(r"geometry_transfer_(statistics|mask|stem|gradient)|dual_fusion_conv1x1", name):
            assert "mma.sync.aligned.m16n8k16" in code, f"{name} has no matrix instruction"
            assert "cp.async.cg.shared.global" in code, f"{name} does not copy 16 bytes at a time"
        elif re.search(r"spatial_softmax|attention_mask_forward|dual_fusion", name):
            wide = re.search(r"ld\.global(\.nc)?(\.L\d::\w+)?\.(v4\.\w32|v2\.\w64)", code)
            assert wide, f"{name} has no 16-byte load"


@needs_nvcc
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: its own tests run the kernels")
def test_library_loads_without_a_driver_and_says_what_is_missing(built: tuple[Path, dict[str, str]]) -> None:
    """Linked with the static runtime: it needs no toolkit, no torch, and no driver before the first kernel."""
    folder = built[0]
    objects = [str(folder / f"{kind}.o") for kind in TYPES]
    library = folder / "_cuda.so"
    subprocess.run(
        ["nvcc", "-shared", "-cudart", "static", "-Xcompiler", "-fPIC,-fvisibility=hidden", *objects,
         str(SOURCES / "bindings.cpp"), "-o", str(library)],
        check=True,
    )  # fmt: skip
    linked = subprocess.run(["ldd", str(library)], capture_output=True, text=True, check=True).stdout
    assert "torch" not in linked and "cudart" not in linked and "python" not in linked
    compiled = Compiled(library, "cpu")
    assert len(compiled.names()) == sum(len(kernels) for kernels in REGISTERS.values())
    cuda_launch.use(compiled)
    try:
        with pytest.raises(RuntimeError, match="driver"):
            x = torch.zeros(4)
            cuda_launch.launch("attention_mask_extremes", torch.float32, [1], 128, *[x] * 4, x.int(), x, 4)
    finally:
        cuda_launch.use(None)


@pytest.mark.parametrize("path", sorted(SOURCES.glob("*.cuh")), ids=lambda p: p.name)
def test_nvrtc_compiles_every_file(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without nvcc: one cubin for each kernel, cached on disk."""
    try:
        from cupy_backends.cuda.libs import nvrtc

        nvrtc.getVersion()
    except Exception as error:
        pytest.skip(f"CuPy's NVRTC is not installed ({error})")
    monkeypatch.setenv("ACDC_CACHE", str(tmp_path))
    launcher = cuda_nvrtc.Nvrtc(SOURCES)
    typed, plain = (SOURCES / "table.h").read_text(encoding="utf-8").split("ACDC_PLAIN_KERNELS")
    names = ((typed, "half_t"), (plain, "float"))
    listed = [(n, kind) for text, kind in names for n in re.findall(r"X\((\w+)\)", text)]
    assert len(listed) == len(REGISTERS["float"])
    kernels = [(n, kind) for n, kind in listed if cuda_nvrtc.kernel_file(n, SOURCES) == path]
    if not kernels:
        header = cuda_nvrtc.inlined(path) + "\n__global__ void empty() {}\n"
        assert cuda_nvrtc.nvrtc_compile(header, "empty", 80)[0][:4] == b"\x7fELF"
    for name, kind in kernels:
        full = f"{name}<{kind}>"
        cubin, mangled = launcher.cubin(full, 80)
        assert cubin[:4] == b"\x7fELF" and mangled.encode() in cubin
        monkeypatch.setattr(cuda_nvrtc, "nvrtc_compile", None)  # now it must come from the disk
        assert launcher.cubin(full, 80) == (cubin, mangled)
        monkeypatch.undo()
        monkeypatch.setenv("ACDC_CACHE", str(tmp_path))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        reports = build(Path(folder))
    rows = []
    for kind, report in reports.items():
        tables = [resources(report, arch) for arch in ARCHS]
        kernels = (f'    "{k}": {[table[k][2] for table in tables]}' for k in sorted(tables[0]))
        rows.append(f'  "{kind}": {{\n' + ",\n".join(kernels) + "\n  }")
    TABLE.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()
