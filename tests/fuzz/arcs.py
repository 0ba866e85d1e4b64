"""Which steps from line to line a call takes, in the Python files that read what is fuzzed: ours and the libraries'.

``sys.settrace`` sees the thread that calls. C and C++ code is not seen.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TESTS = str(ROOT / "tests")
#: Parts of the paths of others' readers, beside the files of this repository.
OTHERS = ("/PIL/", "/yaml/", "/safetensors/", "/pyarrow/", "/json/", "/tarfile.py", "/csv.py")


@cache
def watched(path: str) -> str:
    """A short name of a file whose steps count, or ""."""
    ours = path.startswith(str(ROOT)) and not path.startswith(TESTS) and "site-packages" not in path
    return "/".join(Path(path).parts[-2:]) if ours or any(part in path for part in OTHERS) else ""


class Arcs:
    """``with arcs: …`` leaves in ``fresh`` the steps that no call before took."""

    def __init__(self, known: set[str]) -> None:
        self.known, self.fresh, self._taken = known, list[str](), set[tuple[str, int, int]]()

    def __enter__(self) -> None:
        self._taken.clear()
        sys.settrace(self._called)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        self.fresh = sorted({f"{name}:{a}-{b}" for name, a, b in self._taken} - self.known)
        self.known.update(self.fresh)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        name, before = watched(frame.f_code.co_filename), 0
        if not name:
            return None

        def stepped(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal before
            if event == "line":
                self._taken.add((name, before, frame.f_lineno))
                before = frame.f_lineno
            return stepped

        return stepped
