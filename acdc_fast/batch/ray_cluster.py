"""The Ray cluster of a job: started on this machine, or one that is there. Needs the extra [ray]."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from typing import Any

from ..errors import AcdcError, BackendUnavailable

#: Memory for what lies between the processes, of a cluster on this machine alone.
STORE = 512 << 20
#: Seconds that a cluster has to answer.
ANSWER = 60
#: Joins a cluster and leaves it, or prints why not. It ends itself if nobody waits for it any more.
LOOK = """
import faulthandler, sys
faulthandler.dump_traceback_later(int(sys.argv[2]) + 5, exit=True)
import ray
try:
    ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
except Exception as error:
    print(*str(error).split())
    sys.exit(1)
"""


class Cluster:
    """A Ray cluster for the time of a job: one that is started on this machine for ``address`` "local", else the one
    at the address ("auto": the one that this machine belongs to). One that the caller has joined stays joined."""

    def __init__(self, address: str) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise BackendUnavailable(f"--ray needs ray ({error}): pip install 'acdc-fast[ray]'") from error
        self.ray: Any = ray
        self.joined = not ray.is_initialized()
        if self.joined:
            own = {"include_dashboard": False, "object_store_memory": STORE} if address == "local" else {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                try:
                    if address != "local":
                        _look(address)
                    self.ray.init(address, log_to_driver=False, logging_level="ERROR", configure_logging=True, **own)
                except (ConnectionError, ValueError, RuntimeError) as error:
                    reason = " ".join(str(error).split())
                    raise AcdcError(f"no Ray cluster at {address!r} ({reason})") from error

    def close(self) -> None:
        if self.joined:
            self.ray.shutdown()


def _look(address: str) -> None:
    """`ConnectionError` where no cluster answers. In a process of its own: Ray may try for a quarter of an hour,
    and its C++ part writes each try to stderr."""
    command = [sys.executable, "-c", LOOK, address, str(ANSWER)]
    try:
        looked = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, text=True, timeout=ANSWER)
    except subprocess.TimeoutExpired:
        raise ConnectionError(f"no answer in {ANSWER} seconds") from None
    if looked.returncode:
        reason = looked.stdout.strip() or f"Ray ended with exit code {looked.returncode}"
        raise ConnectionError(reason if len(reason) <= 300 else f"{reason[:300]} …")
