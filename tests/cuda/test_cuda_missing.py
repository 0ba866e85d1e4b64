"""What is not there is said when it is asked for, with its remedy; and the library's door lets nothing wrong
through."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest
import torch
from helpers.patience import PATIENCE

from acdc_fast import BackendUnavailable, ops
from acdc_fast.ops import cuda
from acdc_fast.ops.cuda import launch as cuda_launch
from acdc_fast.ops.cuda.launch import Compiled

ROOT = Path(__file__).resolve().parents[2]
GPU = Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Neither the compiled library nor CuPy."""
    monkeypatch.setattr(cuda_launch, "__file__", str(tmp_path / "acdc_fast" / "ops" / "cuda" / "launch.py"))
    monkeypatch.setattr(cuda_launch, "source_folder", lambda: ROOT / "csrc" / "cuda")
    monkeypatch.setitem(sys.modules, "cupy_backends", None)  # type: ignore[arg-type]
    for name in [n for n in sys.modules if n.startswith("cupy_backends.")]:
        monkeypatch.delitem(sys.modules, name)
    cuda_launch.find.cache_clear()
    yield
    cuda_launch.find.cache_clear()


def test_neither_nvcc_nor_cupy(nothing_installed: None) -> None:
    reason = cuda.why_not("cuda", torch.float32)
    assert reason and "ACDC_CUDA=1 pip install -e ." in reason and "pip install cupy-cuda" in reason
    with pytest.raises(BackendUnavailable, match="pip install cupy-cuda"):
        ops.spatial_softmax(torch.zeros(1, 1, 4, 4), backend="cuda")


def test_a_library_that_does_not_load(nothing_installed: None, tmp_path: Path) -> None:
    (tmp_path / "acdc_fast").mkdir()
    (tmp_path / "acdc_fast" / "_cuda.so").write_text("not a library")
    reason = cuda.why_not("cuda", torch.float32)
    assert reason and "_cuda.so cannot be loaded" in reason


def test_cpu_tensors_and_other_types(monkeypatch: pytest.MonkeyPatch) -> None:
    class Present:
        device = "cuda"

    monkeypatch.setattr(cuda_launch, "current", Present)
    assert "backend='native'" in str(cuda.why_not("cpu", torch.float32))
    assert "backend='reference'" in str(cuda.why_not("cuda", torch.float64))
    if not torch.cuda.is_available():
        assert "NVIDIA driver" in str(cuda.why_not("cuda", torch.float32))


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        timeout=PATIENCE,
    )


def test_without_torch() -> None:
    """The package can be imported; functions that need torch say so."""
    result = run("import sys; sys.modules['torch'] = None\nimport acdc_fast\nprint('imported')\nacdc_fast.ops")
    assert "imported" in result.stdout and result.returncode != 0
    assert "torch" in result.stderr.strip().splitlines()[-1]


def test_without_triton() -> None:
    code = (
        "import importlib.util as u, torch; f = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'triton' else f(n, *a)\n"
        "from acdc_fast import kernels; print(kernels.why_not('cuda', torch.float32))"
    )
    result = run(code)
    assert "pip install" in result.stdout, result.stderr


def test_the_door(emulator_library: Compiled) -> None:
    """Names, numbers and sizes of arguments, null pointers, grids: refused before anything is launched."""

    def launch(
        name: str, grid: tuple[int, int, int], arguments: list[object], block: int = 256, shared: int = 128
    ) -> None:
        emulator_library.launch(name, grid, block, shared, 0, 0, arguments)

    x = torch.zeros(64)
    p, n = ctypes.c_void_p(x.data_ptr()), ctypes.c_int(4)
    good: list[object] = [p, p, p, p, p, p, n]
    name = "attention_mask_extremes<float>"
    for arguments, grid, options, words in [
        (good[:-1], (1, 1, 1), {}, "takes 7 arguments, got 6"),
        ([*good[:-1], ctypes.c_longlong(4)], (1, 1, 1), {}, "argument 6 has 8 bytes, not 4"),
        ([ctypes.c_void_p(0), *good[1:]], (1, 1, 1), {}, "argument 0 is a null pointer"),
        ([ctypes.c_void_p(x.data_ptr() + 1), *good[1:]], (1, 1, 1), {}, "argument 0 is misaligned"),
        (good, (0, 1, 1), {}, "grid of 0×1×1"),
        (good, (1, 70000, 1), {}, "grid of 1×70000×1"),
        (good, (1, 1, 1), {"block": 100}, "block of 100"),
        (good, (1, 1, 1), {"shared": 64}, "shared memory, was given 64"),
    ]:
        with pytest.raises(RuntimeError, match=words):
            launch(name, grid, list(arguments), **options)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="no such kernel"):
        launch("attention_mask_extremes<double>", (1, 1, 1), good)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the files that setup.py reads, with a pretended cmake and nvcc."""
    copy = tmp_path / "tree"
    copy.mkdir()
    for name in ("acdc_fast", "kernels", "training", "csrc"):
        copytree(ROOT / name, copy / name, ignore=ignore_patterns("*.so", "__pycache__", "*.safetensors"))
    for name in ("setup.py", "pyproject.toml", "CMakeLists.txt", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            (copy / name).write_bytes((ROOT / name).read_bytes())
        else:
            (copy / name).write_text("")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "cmake").write_text(
        "#!/bin/sh\nfor a; do case $a in -DACDC_OUTPUT=*) out=${a#*=};; -DACDC_CUDA=ON) cuda=1;; esac; done\n"
        '[ -z "$out" ] && echo "[1/2] Building csrc/cuda/one.cu" && echo "[2/2] Linking all.so" && exit 0\n'
        'mkdir -p "$out"; touch "$out/_native.so"; [ -z "$cuda" ] || touch "$out/_cuda.so"\n'
    )
    (tools / "nvcc").write_text("#!/bin/sh\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    return copy


def setup(tree: Path, *arguments: str, nvcc: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    folders = [str(tree.parent / "tools"), "/usr/bin", "/bin"]
    if not nvcc:
        (tree.parent / "tools" / "nvcc").unlink(missing_ok=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ACDC_", "CUDA_"))}
    return subprocess.run(
        [sys.executable, "setup.py", *arguments], cwd=tree, capture_output=True, text=True, timeout=PATIENCE,
        env={**clean, "PATH": ":".join(folders), **environment},
        start_new_session=True,  # without a terminal, so that progress comes here
    )  # fmt: skip


def contents(tree: Path) -> list[str]:
    (wheel,) = (tree / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    wheel.unlink()
    return names


def test_no_stale_cuda_library_in_a_cpu_wheel(tree: Path) -> None:
    result = setup(tree, "bdist_wheel", ACDC_CUDA="1")
    assert result.returncode == 0, result.stderr[-3000:]
    names = contents(tree)
    assert "acdc_fast/_cuda.so" in names
    needed = {f"acdc_fast/csrc_cuda/{f.name}" for f in (tree / "csrc" / "cuda").glob("*.cuh")}  # by NVRTC
    needed |= {f"acdc_fast/kernels/{f.name}" for f in (tree / "kernels").glob("*.py")}
    assert needed | {"acdc_fast/csrc_cuda/table.h"} <= set(names)
    (tree / "acdc_fast" / "_cuda.so").write_text("of an editable install")
    result = setup(tree, "bdist_wheel", ACDC_CUDA="0")
    assert result.returncode == 0, result.stderr[-3000:]
    names = contents(tree)
    assert "acdc_fast/_native.so" in names and not [n for n in names if "_cuda.so" in n]


def test_cuda_is_built_where_a_gpu_is_or_when_asked_for(tree: Path) -> None:
    """nvcc without a GPU builds nothing, because kernels take minutes. A wheel has code for every family."""
    result = setup(tree, "bdist_wheel")
    assert result.returncode == 0, result.stderr[-3000:]
    assert ("acdc_fast/_cuda.so" in contents(tree)) == GPU
    assert GPU or "no GPU here" in result.stderr
    result = setup(tree, "bdist_wheel", ACDC_CUDA="1")
    assert "CUDA kernels for 75, 80, 86, 89, 90, 100" in result.stderr and "ACDC_CUDA=0" in result.stderr
    assert "[1/2] one.cu" in result.stderr and "[2/2] all.so" in result.stderr


def test_what_a_build_says_of_nvcc(tree: Path) -> None:
    result = setup(tree, "build_ext", nvcc=False, ACDC_CUDA="1")
    assert result.returncode != 0 and "put the CUDA toolkit's bin on PATH" in result.stderr
    assert "Traceback" not in result.stderr
    result = setup(tree, "build_ext", nvcc=False)
    assert result.returncode == 0 and ("nvcc not found" if GPU else "no GPU here") in result.stderr
    result = setup(tree, "build_ext", ACDC_CUDA="yes")
    assert result.returncode != 0 and "ACDC_CUDA must be auto, 0 or 1" in result.stderr
