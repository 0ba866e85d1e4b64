"""Machine code of a kernel (`cuobjdump -sass`) → how many instructions a warp executes on each unit, and their time.

A loop is a branch backwards. The loops of a kernel have a number of turns each, in the order in which they begin.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

#: Unit of a multiprocessor → the warp instructions that it takes in a clock. NVIDIA, CUDA C++ Programming Guide, table
#: "Throughput of Native Arithmetic Instructions", compute capability 9.0, divided by the 32 threads of a warp. "issue"
#: is that of the four schedulers. "matrix" counts products of 16×8×16 in half precision, 2048 multiply-adds, which is
#: what the Tensor Cores of an H100's multiprocessor do in a clock.
RATES = {"issue": 4.0, "float": 4.0, "integer": 2.0, "special": 0.5, "memory": 1.0, "matrix": 1.0}
_UNITS = {
    "matrix": r"HMMA|HGMMA|IMMA|QGMMA",
    "special": r"MUFU|F2F|F2I|I2F|F2FP|POPC|FLO|BREV|I2I",
    "memory": r"LDG|STG|LDS|STS|LDSM|STSM|LDGSTS|SHFL|ATOM|ATOMS|ATOMG|RED|LD|ST|LDC|REDUX",
    "float": r"FFMA|FMUL|FADD|HFMA2|HADD2|HMUL2|HFMA|FFMA32I",
    "integer": r"IMAD|IADD3|IADD|LOP3|LEA|SHF|ISETP|FSETP|HSETP2|FMNMX|HMNMX2|IMNMX|VIMNMX|SEL|FSEL|PRMT|MOV|IABS|SGXT|"
    r"PLOP3|LOP|SHL|SHR|CS2R|P2R|R2P|VOTE|FCHK|ISCADD|BMSK|VABSDIFF|HSET2|IDP",
}
_LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\d+\s+)?([A-Z][A-Z0-9_]*)([.\w]*)\s*([^;]*);")


def instructions(text: str) -> list[tuple[int, str, str]]:
    """(address, operation, operands) in order."""
    return [(int(m[1], 16), m[2] + m[3], m[4]) for m in _LINE.finditer(text)]


def loops(code: Sequence[tuple[int, str, str]]) -> list[tuple[int, int]]:
    """(first, last) address of each loop, in order; the outer of two that begin together comes first. The endless one
    after a kernel's end is none."""
    found = []
    for address, operation, operands in code:
        to = re.search(r"0x([0-9a-f]+)", operands) if operation.startswith("BRA") else None
        if to and int(to[1], 16) < address:
            found.append((int(to[1], 16), address))
    return sorted(found, key=lambda loop: (loop[0], -loop[1]))


def unit(operation: str) -> str:
    """The unit that executes it; "control": branches, barriers and the scalar path, which only take an issue slot."""
    name = operation.split(".")[0]
    return next((u for u, pattern in _UNITS.items() if re.fullmatch(pattern, name)), "control")


def weight(operation: str) -> float:
    """1; for a matrix instruction, how many products of 16×8×16 each of its warps does."""
    if shape := re.search(r"GMMA\.(\d+)x(\d+)x(\d+)", operation):  # of four warps
        return int(shape[1]) * int(shape[2]) * int(shape[3]) / 4 / 2048
    if shape := re.search(r"HMMA\.(16)(8)(16|8)", operation):
        return int(shape[3]) / 16
    return 1.0


def executed(text: str, turns: Sequence[float]) -> dict[str, float]:
    """Instructions that a warp executes on each unit, "issue" being all of them, if its loops make so many turns each.

    Raises ``ValueError`` if the code has another number of loops."""
    code = instructions(text)
    found = loops(code)
    if len(found) != len(turns):
        places = ", ".join(f"{a:x}–{b:x}" for a, b in found)
        raise ValueError(f"{len(found)} loops ({places}), not {len(turns)}")
    total: Counter[str] = Counter()
    for address, operation, _ in code:
        times = 1.0
        for (first, last), count in zip(found, turns, strict=True):
            times *= count if first <= address <= last else 1
        total[unit(operation)] += times * weight(operation)
        total["issue"] += times
    return {name: total[name] for name in (*RATES, "control")}


def clocks(counts: dict[str, float], warps: float) -> tuple[float, str]:
    """Least clocks of one multiprocessor for so many warps, and the unit that takes them."""
    times = {name: warps * counts[name] / rate for name, rate in RATES.items()}
    bound = max(times, key=lambda name: times[name])
    return times[bound], bound
