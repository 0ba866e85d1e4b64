"""Every kernel, type and GPU family compiled without a GPU: no spills, limits kept, wide loads, matrix instructions.

`registers.json` holds the registers of each, so that growth is seen: `python tests/kernels/test_compile.py` writes it
anew after a change that is meant (or with another version of Triton, which is recorded in it). The candidates of
kernels/configs.py, "@" in their names, are only checked for what keeps them from running well: spills, shared memory.

ACDC_TRITON=all (`make sanitize`) is the whole run. It adds the candidates in bfloat16, and compares what PTX says of
loads and matrix instructions with the machine code that was made of it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.kept import digest, kept
from helpers.paths import ROOT

HERE = Path(__file__).parent
TABLE = HERE / "registers.json"
SHARED = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024, "gfx942": 64 * 1024}  # bytes of a program
WHOLE = os.environ.get("ACDC_TRITON") == "all"
#: Two compilers may differ by this many registers for the same source.
SLACK = 8
DOTS = r"(geometry_transfer(_backward)?\.(stat|stream|transfer)|cascade_transition|dual_fusion_conv1x1)"
#: Kernels without wide loads. Some read little: small tables or one 4-byte image. With channels last a pixel's 239
#: logits lie side by side, so a pixel may start at any address.
NARROW = r"finish_kernel|mask_sums_kernel|attention_mask.gradient_kernel|(spatial_softmax|attention_mask).*\.last"


def compiled() -> dict[str, Any]:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    program = HERE.parent / "helpers" / "compile_all.py"

    def build(folder: Path) -> None:
        command = [sys.executable, str(program), *(["--whole"] if WHOLE else [])]
        run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert run.returncode == 0, run.stderr[-1500:]
        (folder / "facts.json").write_text(run.stdout)

    import triton

    sources = [program, ROOT / "kernels", ROOT / "acdc_fast" / "ops"]
    folder = kept("triton", digest(sources, triton.__version__, torch.__version__, WHOLE), build)
    found: dict[str, Any] = json.loads((folder / "facts.json").read_text())
    return found


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    pytest.importorskip("triton", reason="Triton is not installed")
    return compiled()


def test_nothing_spills(facts: dict[str, Any]) -> None:
    assert {k: f["spill"] for k, f in facts.items() if f["spill"]} == {}


def test_shared_memory_is_within_the_target(facts: dict[str, Any]) -> None:
    assert {k: f["shared"] for k, f in facts.items() if f["shared"] > SHARED[k.rsplit("/", 1)[1]]} == {}


def test_every_candidate_is_compiled(facts: dict[str, Any]) -> None:
    """Each kernel × type × family × candidate that is not shipped; float32 has none, the whole run bfloat16's too."""
    from acdc_fast.kernels import configs

    kinds = {"fp16": torch.float16} | ({"bf16": torch.bfloat16} if WHOLE else {})
    for (family, (half, _)), (kind, dtype) in product(configs.TABLE.items(), kinds.items()):
        for kernel in configs.CANDIDATES:
            for c in configs.candidates(kernel, family, dtype):
                name = rf"{kernel}\.\w.*@{c.pixels},{c.maps},{c.warps},{c.stages}/{kind}/{family}"
                assert c == half[kernel] or any(re.fullmatch(name, k) for k in facts), name


def test_products_use_matrix_instructions(facts: dict[str, Any]) -> None:
    chosen = {k: f["matrix"] for k, f in facts.items() if re.match(DOTS, k)}
    assert len(chosen) >= 60 and [k for k, matrix in chosen.items() if not matrix] == []


def test_images_are_read_16_bytes_at_a_time(facts: dict[str, Any]) -> None:
    chosen = {k: f["wide"] for k, f in facts.items() if "@" not in k and not re.search(NARROW, k)}
    assert len(chosen) >= 100 and [k for k, wide in chosen.items() if not wide] == []


@pytest.mark.skipif(not WHOLE, reason="reads the machine code of 379 kernels: ACDC_TRITON=all (make sanitize)")
def test_the_machine_code_has_what_ptx_says(facts: dict[str, Any]) -> None:
    read = {k: f["machine code"] for k, f in facts.items() if not k.endswith("/gfx942")}
    assert len(read) >= 370 and {k: code for k, code in read.items() if code != {n: facts[k][n] for n in code}} == {}


def test_registers_do_not_grow(facts: dict[str, Any]) -> None:
    import triton

    table = json.loads(TABLE.read_text())
    if table["triton"] != triton.__version__:
        pytest.skip(f"registers.json is of Triton {table['triton']}, here is {triton.__version__}")
    shipped = {k: f for k, f in facts.items() if "@" not in k}
    assert set(shipped) == set(table["kernels"]), "kernels came or went: python tests/kernels/test_compile.py"
    before = {k: kernel["registers"] for k, kernel in table["kernels"].items()}
    grown = {k: (before[k], f["registers"]) for k, f in shipped.items() if f["registers"] > before[k] + SLACK}
    assert grown == {}, "(before, now); if meant: python tests/kernels/test_compile.py"


def main() -> None:
    import triton

    shipped = {k: f for k, f in sorted(compiled().items()) if "@" not in k}
    rows = {k: {n: f[n] for n in ("registers", "shared", "warps")} for k, f in shipped.items()}
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in rows.items())
    TABLE.write_text(f'{{"triton": "{triton.__version__}", "kernels": {{\n{lines}\n}}}}\n')


if __name__ == "__main__":
    main()
