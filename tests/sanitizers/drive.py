"""Calls every function of the native library, with arguments drawn by number (tests/fuzz/bindings.py), without torch.

``python drive.py COUNT``: most calls compute, some are refused; a sanitizer watches.
"""

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))

from bindings import call

from acdc_fast.errors import AcdcError

warnings.simplefilter("ignore")
refused = 0
for number in range(int(sys.argv[1])):
    try:
        call(number.to_bytes(8, "little"))
    except AcdcError:
        refused += 1
print(f"{sys.argv[1]} calls, {refused} refused")
if refused > int(sys.argv[1]) / 2:
    sys.exit("most calls are refused: nothing is tested")
