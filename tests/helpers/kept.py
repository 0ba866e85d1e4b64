"""Builds for tests, made once for each state of their sources, kept between runs, shared by parallel tests."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from helpers.paths import ROOT

KEPT = ROOT / "build" / "kept"  # `make clean` removes it


def digest(sources: Iterable[Path], *more: object) -> str:
    """A digest of the names and contents of files, of folders' files, and of all else that decides the build."""
    total = hashlib.sha256(repr(more).encode())
    for source in sources:
        paths = sorted(source.rglob("*")) if source.is_dir() else [source]
        for path in (p for p in paths if p.is_file() and p.suffix != ".pyc"):
            total.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
            total.update(path.read_bytes())
    return total.hexdigest()[:16]


def kept(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder that ``build`` filled for this key: by this process or by another, which this one then waits for.

    An error in ``build`` leaves nothing behind. What was built for other keys under this name goes.
    """
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = KEPT / f"{name}-{key}"
        if not done.exists():
            for old in KEPT.glob(f"{name}-*"):
                shutil.rmtree(old)
            begun = KEPT / f"begun.{name}"
            shutil.rmtree(begun, ignore_errors=True)
            begun.mkdir()
            build(begun)
            begun.rename(done)
        return done
