"""Puts this folder on the path, so that tests in every room can import its helpers (`small`, `loops`)."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # side by side: torch's threads would fight for the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Without a GPU the Triton kernels are tested on CPU tensors, in Triton's interpreter; Triton reads this when it is
# first imported, which importing acdc_fast.ops already does.
if not any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")):
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what tests have to tell at the end: their last property ``told``. Tests side by side tell it too."""
    told = {}
    for reports in terminalreporter.stats.values():
        for report in (r for r in reports if isinstance(r, pytest.TestReport)):
            for name, text in report.user_properties:
                if name == "told":
                    told[report.nodeid] = str(text)
    for text in told.values():
        terminalreporter.write_line(text)
