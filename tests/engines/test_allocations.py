"""A call takes its memory from an arena: its number of allocations does not depend on what it computes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COUNTER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
static long count;
long allocations(void) { return __atomic_load_n(&count, __ATOMIC_RELAXED); }
extern void *__libc_malloc(size_t), *__libc_memalign(size_t, size_t), *__libc_realloc(void *, size_t);
static void one(void) { __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED); }
void *malloc(size_t n) { one(); return __libc_malloc(n); }
void *realloc(void *p, size_t n) { one(); return __libc_realloc(p, n); }
void *aligned_alloc(size_t a, size_t n) { one(); return __libc_memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n) { one(); *p = __libc_memalign(a, n); return *p ? 0 : 12; }
"""

CALLS = """
import ctypes, gc, json, sys
sys.path.insert(0, sys.argv[1])
from helpers.nets import arrays, crops, lively
from acdc_fast.engines.native import NativeEngine
count = ctypes.CDLL(None).allocations
count.restype = ctypes.c_long
network = lively(width=16, stages=3)
told = {}
for threads in (1, 2):
    engine = NativeEngine(network.config, arrays(network), threads=threads)._engine
    for batch in (1, 2, 6):
        x = crops(batch, 64)
        for stages in (1, 3):
            for _ in range(3):  # arenas, threads, caches of Python's objects
                engine.run(x, stages, False, True)
            gc.disable()
            before = count()
            engine.run(x, stages, False, True)
            told[f"{threads} threads, {batch} crops, {stages} stages"] = count() - before
            gc.enable()
print(json.dumps(told))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts by way of glibc's malloc")
def test_a_call_allocates_its_results_alone(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler to count allocations")
    source, library = tmp_path / "count.c", tmp_path / "count.so"
    source.write_text(COUNTER)
    built = subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], capture_output=True, text=True)
    if built.returncode:
        pytest.skip(f"the counter of allocations cannot be built: {built.stderr[-200:]}")
    run = subprocess.run(
        [sys.executable, "-c", CALLS, str(Path(__file__).parents[1])],
        env={**os.environ, "LD_PRELOAD": str(library)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout.splitlines()[-1])
    assert min(told.values()) > 0 and len(set(told.values())) == 1, told
