"""Clusters that the command finds at an address, or does not find: one line, within a time that is known."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers.paths import PHOTO
from helpers.patience import PATIENCE

pytest.importorskip("ray", reason="ray is not installed (extra [ray])")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra [parquet])")

from acdc_fast import AcdcError
from acdc_fast.batch import ray_cluster

RUN = "import sys; from acdc_fast.commands.cli import main; sys.exit(main(sys.argv[1:]))"
#: "auto" takes any cluster of the machine, so also one of another test.
ALONE = "import ray._private.services as services; services._find_address_from_flag = lambda *_: set()\n"
TOKEN = "5b" * 32


def _env(folder: str) -> dict[str, str]:
    """Settings of Ray that know nothing of this machine's user."""
    Path(folder, "token").write_text(TOKEN)
    own = {"RAY_TMPDIR": folder, "RAY_AUTH_TOKEN_PATH": f"{folder}/token", "RAY_USAGE_STATS_ENABLED": "0"}
    return {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | own


def _batch(address: str, folder: Path, env: dict[str, str], before: str = "") -> subprocess.CompletedProcess[str]:
    words = ["batch", str(PHOTO), "-o", "out.csv", "--ray", address, "--weights", "acdc-w16-phone"]
    command = [sys.executable, "-c", before + RUN, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, env=env)


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("address", "reason"), [("auto", "no answer|connect"), ("127.0.0.1:1", "no answer|connect"), ("rubbish", "Invalid")]
)
def test_no_such_cluster(tmp_path: Path, address: str, reason: str) -> None:
    """Also where an earlier cluster left its address behind, as a killed one does."""
    if address == "auto":
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    began = time.monotonic()
    before = f"from acdc_fast.batch import ray_cluster as it; it.LOOK = {ALONE!r} + it.LOOK; it.ANSWER = 20; "
    ran = _batch(address, tmp_path, _env(str(tmp_path)), before)
    lines = ran.stderr.splitlines()
    assert ran.returncode == 1 and len(lines) == 1, ran.stderr
    assert re.match(f"acdc-fast: no Ray cluster at '{address}' \\(.*({reason})", lines[0]) and len(lines[0]) < 400
    assert time.monotonic() - began < PATIENCE / 2  # Ray alone tries for 820 seconds


def test_an_address_that_never_answers(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "ANSWER", 5)
    with pytest.raises(AcdcError, match="no answer in 5 seconds"):
        ray_cluster.Cluster(silent)


#: Whether this Ray has tokens as 2.60 has, the oldest whose tokens were tried.
TOKENS = tuple(map(int, version("ray").split(".")[:2])) >= (2, 60)
needs_tokens = pytest.mark.skipif(not TOKENS, reason="tokens were tried with Ray 2.60 and newer alone")


@pytest.fixture(params=["disabled", pytest.param("token", marks=needs_tokens)])
def started(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, str]]]:
    """Address of a cluster that `ray start` has made, and the environment of its users."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # a short name: sockets lie in it
        env = _env(folder) | {"RAY_AUTH_MODE": request.param}
        options = ["--head", "--block", "--port=0", "--num-cpus=1", "--include-dashboard=false",
                   "--object-store-memory=100000000"]  # fmt: skip
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as head:
            assert head.stdout is not None
            try:
                for line in head.stdout:  # "--block" is the last thing that it tells of
                    if "--block" in line:
                        break
                yield Path(folder, "ray", "ray_current_cluster").read_text(), env
            finally:
                head.terminate()
                head.communicate(timeout=PATIENCE)


def test_a_cluster_that_was_started_before(started: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, env = started
    ran = _batch(address, tmp_path, env)
    assert ran.returncode == 0, ran.stderr
    assert "1 image; 1 face" in ran.stdout and (tmp_path / "out.csv").exists()
    if env["RAY_AUTH_MODE"] == "disabled" and TOKENS:
        ran = _batch(address, tmp_path, env | {"RAY_AUTH_MODE": "token"})
        assert ran.returncode == 0  # done already
        (tmp_path / "out.csv").unlink()
        ran = _batch(address, tmp_path, env | {"RAY_AUTH_MODE": "token"})
        assert ran.returncode == 1 and "RAY_AUTH_MODE" in ran.stderr.splitlines()[-1], ran.stderr
