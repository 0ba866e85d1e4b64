"""Faults at every call that touches a folder: the process dies before it, dies in the middle of a write, or the disk is
full from there on. `Faults` stands in for the calls of Python that change files; call number ``at`` (from 1) is struck.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
from pathlib import Path
from typing import Any

#: Calls that take a path first.
CALLS = ("replace", "rename", "unlink", "remove", "rmdir", "mkdir", "chmod", "truncate")
ROOM = {"open", "write", "fsync", "mkdir", "close"}  # those that a full disk refuses


class Faults:
    """Counts the calls below ``folder``. Number ``at`` gets the fault ``how``: "kill", "torn" or "full"."""

    def __init__(self, folder: Path, at: int = 0, how: str = "kill") -> None:
        self.folder, self.at, self.how, self.count = str(folder), at, how, 0
        self.log: list[str] = []

    def install(self) -> None:
        """For the rest of the process's life."""
        for name in CALLS:
            setattr(os, name, self._call(name, getattr(os, name)))
        real_open, real_fsync, real_os_open = builtins.open, os.fsync, os.open

        def opened(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            writes = set(mode) & set("wax+") and self._ours(path)
            if writes:
                self.strike("open", os.fsdecode(path))
            if not writes:
                return real_open(path, mode, *args, **kwargs)
            raw = Raw(path, mode.replace("b", ""), self)
            file = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return file if "b" in mode else io.TextIOWrapper(file, encoding="utf-8")

        def synced(handle: int) -> None:
            self.strike("fsync", str(handle))
            real_fsync(handle)

        def os_opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR) and self._ours(path):
                self.strike("open", os.fsdecode(path))
            return real_os_open(path, flags, *args, **kwargs)

        builtins.open = io.open = opened  # type: ignore[assignment]
        os.fsync, os.open = synced, os_opened  # type: ignore[assignment]

    def _ours(self, path: Any) -> bool:
        return not isinstance(path, int) and os.fsdecode(path).startswith(self.folder)

    def _call(self, name: str, real: Any) -> Any:
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            if self._ours(path):
                self.strike(name, str(path))
            return real(path, *args, **kwargs)

        return call

    def strike(self, name: str, what: str = "", torn: Any = None) -> None:
        self.count += 1
        self.log.append(f"{name} {os.path.basename(what)}")
        if not self.at or self.count < self.at:
            return
        if self.how == "full":
            if name in ROOM:
                named = (what,) if name in ("open", "mkdir") else ()
                raise OSError(errno.ENOSPC, "No space left on device", *named)
        elif self.count == self.at:
            if self.how == "torn" and torn is not None:
                torn()
            os.kill(os.getpid(), signal.SIGKILL)


class Raw(io.FileIO):
    """A file opened for writing. Each write of Python's buffer to the system may get the fault."""

    def __init__(self, path: Any, mode: str, faults: Faults) -> None:
        self.faults = faults
        super().__init__(path, mode)

    def write(self, data: Any) -> int:
        def half() -> None:
            io.FileIO.write(self, bytes(data)[: len(data) // 2])

        self.faults.strike("write", str(self.name), half)
        return super().write(data)
