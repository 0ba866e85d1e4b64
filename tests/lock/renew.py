"""Writes the lock file of this Python and platform: ``make lock``.

It holds the version and the digest of every package that `make test` installs, as pip chooses them today. Torch is
pinned in the Makefile alone, because builds for CPU and GPU have one version and different digests.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.paths import LOCKS, ROOT, lock_tag

EXTRAS = "torch,train,onnx,video,parquet,test,gpu-test,dev,docs"
#: Left out: the package itself; torch, and what a build of torch for GPUs brings along.
OWN = ("acdc-fast", "torch")
HEAD = "# Versions and digests for `make test` on {}. Written by `make lock`; do not edit.\n"


def locked(report: dict) -> list[str]:
    """Lines of a lock from pip's report of an installation."""
    lines = []
    for item in report["install"]:
        name, version = item["metadata"]["name"].lower().replace("_", "-"), item["metadata"]["version"]
        if name in OWN:
            continue
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name}=={version} --hash=sha256:{digest}")
    return sorted(lines)


def main() -> None:
    torch = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        wanted = [torch, "setuptools>=77", f".[{EXTRAS}]"]
        subprocess.run([*command, "--report", str(report), *wanted], cwd=ROOT, check=True)
        lines = locked(json.loads(report.read_text(encoding="utf-8")))
    path = LOCKS / f"{lock_tag()}.txt"
    path.write_text(HEAD.format(lock_tag()) + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{path}: {len(lines)} packages, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
