"""The C++ library `acdc_fast._native`: the engine and the detector load it here, where an older one is told apart."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from .errors import BackendUnavailable

#: What Python calls, in a clone. A wheel has no sources, and a library that belongs to it.
SOURCES = Path(__file__).resolve().parents[1] / "csrc" / "cpu" / "bindings"


@cache
def digest_of(folder: Path) -> str | None:
    """SHA-256 over those of the folder's sources, as CMakeLists.txt builds it in; None where there are none."""
    files = sorted([*folder.glob("*.cpp"), *folder.glob("*.h")])
    digests = "".join(sha256(file.read_bytes()).hexdigest() for file in files)
    return sha256(digests.encode()).hexdigest() if files else None


def why_older(native: Any) -> str | None:
    """What is wrong with a library that was built of other bindings than those of this clone, or None."""
    if digest_of(SOURCES) in (None, getattr(native, "bindings", None)):
        return None
    return f"{native.__file__} is of an older version; build it again with `pip install -e .`"


def load(asker: str, instead: str) -> Any:
    """`acdc_fast._native` for ``asker``. Raises `BackendUnavailable` with the reason and what to take ``instead``."""
    try:
        from . import _native
    except ImportError as error:
        raise BackendUnavailable(
            f"{asker}: the C++ library cannot be loaded ({error}); build it with 'pip install -e .' "
            f"(needs a C++17 compiler) or take {instead}"
        ) from error
    if older := why_older(_native):
        raise BackendUnavailable(f"{asker}: {older}")
    return _native
