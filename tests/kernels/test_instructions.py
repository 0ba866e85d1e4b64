"""What a warp of the heaviest Triton kernels executes on each unit of a multiprocessor, counted in their machine code.

`instructions.json` holds the counts. After a change that is meant, `PYTHONPATH=tests python
tests/kernels/test_instructions.py` writes it anew. `python bench/gpu_model.py` makes times of the counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import sass
from helpers.kept import digest, kept
from helpers.paths import ROOT

HERE = Path(__file__).parent
TABLE = HERE / "instructions.json"
#: A count may grow by this share: the compiler's order of things is not ours.
SLACK = 0.02


def counted() -> dict[str, dict[str, int]]:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    folder = HERE.parent

    def build(place: Path) -> None:
        command = [sys.executable, "-m", "helpers.count_instructions"]
        run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
        assert run.returncode == 0, run.stderr[-1500:]
        (place / "counts.json").write_text(run.stdout)

    import triton

    helpers = [folder / "helpers" / f"{name}.py" for name in ("count_instructions", "compile_all", "sass")]
    found = kept("instructions", digest([*helpers, ROOT / "kernels"], triton.__version__), build) / "counts.json"
    counts: dict[str, dict[str, int]] = json.loads(found.read_text())
    return counts


def grown(before: dict[str, dict[str, int]], now: dict[str, dict[str, int]]) -> dict[str, tuple[int, int]]:
    """kernel and unit → (before, now) of what grew."""
    return {
        f"{kernel} {unit}": (before[kernel][unit], count)
        for kernel, units in now.items()
        for unit, count in units.items()
        if count > before[kernel][unit] * (1 + SLACK)
    }


def test_instructions_do_not_grow() -> None:
    triton = pytest.importorskip("triton", reason="Triton is not installed")
    table: dict[str, Any] = json.loads(TABLE.read_text())
    if table["triton"] != triton.__version__:
        pytest.skip(f"instructions.json is of Triton {table['triton']}, here is {triton.__version__}")
    now = counted()
    assert set(now) == set(table["kernels"])
    assert grown(table["kernels"], now) == {}, "(before, now); if meant: write the table anew"
    dots = [k for k in now if "depthwise_gradient" not in k]
    assert len(dots) == 8 and all(now[k]["matrix"] > 0 for k in dots)


#: One loop of two within another of three: 1 + 3·(2 + 2·2) + 2 instructions.
CODE = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;               /* 0x00000a00ff017b82 */
        /*0010*/                   FADD R2, R2, R3 ;                    /* 0x00000a00ff017b82 */
        /*0020*/                   MUFU.EX2 R4, R4 ;                    /* 0x00000a00ff017b82 */
        /*0030*/              @!P1 BRA 0x20 ;                           /* 0x00000a00ff017b82 */
        /*0040*/                   HGMMA.64x32x16.F32 R24, gdesc[UR4], R24 ;
        /*0050*/               @P0 BRA 0x10 ;                           /* 0x00000a00ff017b82 */
        /*0060*/               @P0 EXIT ;                               /* 0x00000a00ff017b82 */
        /*0070*/                   BRA 0x70;                            /* 0x00000a00ff017b82 */
"""


def test_counts_of_a_nest_of_loops() -> None:
    counts = sass.executed(CODE, (3, 2))
    assert counts == {
        "issue": 1 + 3 * (1 + 2 * 2 + 2) + 2, "float": 3, "integer": 0, "special": 6, "memory": 1,
        "matrix": 3 * 4, "control": 2 * 3 + 3 + 2,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"2 loops \(10–50, 20–30\), not 1"):
        sass.executed(CODE, (3,))
    assert sass.clocks(counts | {"special": 5}, warps=8) == (8 * 12 / 1.0, "matrix")
    assert sass.clocks(counts | {"special": 7}, warps=8) == (8 * 7 / 0.5, "special")


def test_growth_is_seen() -> None:
    before = {"k": {"issue": 1000, "special": 100}}
    assert grown(before, {"k": {"issue": 1015, "special": 100}}) == {}
    assert grown(before, {"k": {"issue": 1015, "special": 103}}) == {"k special": (100, 103)}


def main() -> None:
    import triton

    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(counted().items()))
    TABLE.write_text(f'{{"triton": "{triton.__version__}", "kernels": {{\n{lines}\n}}}}\n')


if __name__ == "__main__":
    main()
