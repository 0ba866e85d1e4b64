"""A job whose rows workers of Ray make, on a cluster of two nodes: the same bytes as without, whoever dies."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import PHOTO
from helpers.patience import PATIENCE
from PIL import Image

ray = pytest.importorskip("ray", reason="ray is not installed (extra [ray])")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra [parquet])")

import pyarrow.parquet as pq  # noqa: E402
from ray.cluster_utils import Cluster as Nodes  # noqa: E402

from acdc_fast import AcdcError, Model  # noqa: E402
from acdc_fast.batch import ray_rows  # noqa: E402
from acdc_fast.batch.job import Tally, run_batch  # noqa: E402

#: Pictures of the job; they make more bundles than the workers get at a time.
COUNT = 90


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Two nodes, each with one CPU, on this machine. This process belongs to the first. They know no token, so this
    process must not send one, whatever the home folder holds."""
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    patch.undo()


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained("acdc-w16-phone", threads=1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All different; two are broken, one holds no face."""
    folder = tmp_path_factory.mktemp("in")
    with Image.open(PHOTO) as photo:
        face = photo.crop((150, 30, 300, 210))
        for i in range(COUNT):
            face.rotate(i / 3).resize((72 + i // 3, 90)).save(folder / f"{i:03d}.png")
    (folder / "020.png").write_bytes(b"no picture")
    (folder / "061.png").write_bytes(b"")
    Image.new("RGB", (64, 48)).save(folder / "040.png")
    return folder


@pytest.fixture(scope="module")
def plain(model: Model, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Tally, list[str]]:
    """Output, tally and notes without Ray."""
    out, notes = tmp_path_factory.mktemp("plain") / "out.parquet", list[str]()
    tally = run_batch(model, str(pictures), str(out), note=notes.append)
    assert (tally.rows, tally.broken) == (COUNT, 2) and len(notes) == 2 and tally.faces > COUNT // 2
    return out.read_bytes(), tally, notes


Watch = Callable[[Any], None]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[[Watch], list[Any]]:
    """Calls a function with the pool of workers after each look for finished bundles."""

    def watch(function: Watch) -> list[Any]:
        pools: list[Any] = []
        finished = ray_rows._Pool.finished

        def spied(pool: Any) -> Any:
            if pool not in pools:
                pools.append(pool)
            found = list(finished(pool))
            function(pool)
            return iter(found)

        monkeypatch.setattr(ray_rows._Pool, "finished", spied)
        return pools

    return watch


@pytest.fixture
def all_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """No work before each worker has started once: else the first could do all of it while the others start."""
    free = ray_rows._Pool.free.fget  # type: ignore[attr-defined]
    ready = property(lambda pool: len(pool.places) >= pool.size and free(pool))
    monkeypatch.setattr(ray_rows._Pool, "free", ready)


def test_two_nodes_give_the_same_bytes(
    nodes: Nodes, model: Model, pictures: Path, plain: tuple[bytes, Tally, list[str]], tmp_path: Path,
    watched: Callable[[Watch], list[Any]], all_ready: None,
) -> None:  # fmt: skip
    notes: list[str] = []
    pools = watched(lambda pool: None)
    tally = run_batch(model, str(pictures), str(tmp_path / "out.parquet"), note=notes.append, cluster=nodes.address)
    assert (tmp_path / "out.parquet").read_bytes() == plain[0]
    assert (tally, notes) == (plain[1], plain[2])
    assert len({node for node, _ in pools[0].places.values()}) == 2  # both have worked
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"] and ray.is_initialized()


def test_killed_workers_lose_nothing(
    nodes: Nodes, model: Model, pictures: Path, plain: tuple[bytes, Tally, list[str]], tmp_path: Path,
    watched: Callable[[Watch], list[Any]],
) -> None:  # fmt: skip
    killed: list[int] = []

    def kill(pool: Any) -> None:
        """Each of the first two workers that have work is killed once."""
        for worker, _ in pool.work.values():
            pid = pool.places[worker][1]
            if len(killed) < 2 and pid not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    watched(kill)
    tally = run_batch(model, str(pictures), str(tmp_path / "out.parquet"), note=print, cluster=nodes.address)
    assert len(killed) == 2 and tally == plain[1]
    assert (tmp_path / "out.parquet").read_bytes() == plain[0]


def test_stopped_and_taken_up_without_ray(
    nodes: Nodes, model: Model, pictures: Path, plain: tuple[bytes, Tally, list[str]], tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"

    def stop(_: str) -> None:
        """At the first broken picture, as Ctrl-C does."""
        os.kill(os.getpid(), signal.SIGINT)

    tally = run_batch(model, str(pictures), str(out), part=8, note=stop, cluster=nodes.address)
    assert tally.stopped == signal.SIGINT and 8 <= tally.rows < COUNT and not out.exists()
    again = run_batch(model, str(pictures), str(out), note=print)
    assert again.resumed == tally.rows and again.rows == COUNT and out.read_bytes() == plain[0]


class Deadly(Model):
    """Whoever aligns the picture of 13 pixels dies of it."""

    def __reduce__(self) -> tuple[Any, ...]:
        function, arguments = super().__reduce__()

        def made(*arguments: Any) -> Model:
            model = function(*arguments)
            align = model.align_each

            def align_each(images: Any, **options: Any) -> Any:
                for image in images:
                    if image.width == 13:
                        os._exit(9)
                    yield next(iter(align([image], **options)))

            model.align_each = align_each
            return model  # type: ignore[no-any-return]

        return made, arguments


def test_a_picture_that_kills_workers_ends_the_job_and_keeps_what_is_done(
    nodes: Nodes, model: Model, pictures: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out.jsonl"
    folder.mkdir()
    for i in range(40):
        Image.new("RGB", (13 if i == 35 else 40, 40), (i, 90, 120)).save(folder / f"{i:02d}.png")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    deadly = Deadly(model.weights, threads=1)
    with pytest.raises(AcdcError, match=r"3 workers died of 32\.png … 39\.png"):
        run_batch(deadly, str(folder), str(out), part=8, cluster=nodes.address)
    (folder / "35.png").unlink()
    parts = sorted(path.name for path in (tmp_path / "out.jsonl.parts").glob("*.parquet"))
    assert parts and parts[-1].split("-")[1] == "0000000032.parquet"


def test_a_lost_node(
    nodes: Nodes, model: Model, pictures: Path, plain: tuple[bytes, Tally, list[str]], tmp_path: Path,
    watched: Callable[[Watch], list[Any]], all_ready: None,
) -> None:  # fmt: skip
    """Its work goes to the other one."""
    lost = nodes.add_node(num_cpus=2, object_store_memory=100 << 20)
    nodes.wait_for_nodes()
    gone: list[str] = []

    def lose(pool: Any) -> None:
        places = [pool.places[worker][0] for worker, _ in pool.work.values()]
        if not gone and lost.node_id in places:
            gone.append(lost.node_id)
            nodes.remove_node(lost, allow_graceful=False)

    watched(lose)
    tally = run_batch(model, str(pictures), str(tmp_path / "out.parquet"), note=print, cluster=nodes.address)
    assert gone and tally == plain[1] and (tmp_path / "out.parquet").read_bytes() == plain[0]


def test_command_on_this_machine(pictures: Path, plain: tuple[bytes, Tally, list[str]], tmp_path: Path) -> None:
    """It starts its own cluster and ends it; exit code 2 tells of the broken pictures, which are named."""
    command = [sys.executable, "-m", "acdc_fast.commands.cli", "batch", str(pictures), "-o", "out.parquet", "--ray",
               "--weights", "acdc-w16-phone"]  # fmt: skip
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == 2, ran.stderr
    assert [line.removeprefix("acdc-fast: ") for line in ran.stderr.splitlines()] == plain[2]
    expected = pq.read_table(io.BytesIO(plain[0]))  # its job names fewer options, all with their usual values
    assert f"{COUNT} images" in ran.stdout and pq.read_table(tmp_path / "out.parquet").equals(expected)
