"""Puts this folder on the path, so that tests in every room can import its helpers (`small`, `loops`)."""

import os
from pathlib import Path

# Without a GPU the Triton kernels are tested on CPU tensors, in Triton's interpreter; Triton reads this when it is
# first imported, which importing acdc_fast.ops already does.
if not any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")):
    os.environ.setdefault("TRITON_INTERPRET", "1")
