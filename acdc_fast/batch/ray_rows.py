"""Rows of a job made by the workers of a Ray cluster, in the order of the images. Needs the extra [ray].

This process reads the files and hands them out in small bundles; each worker holds one model. So workers need the
package, but not the files. Rows come back here, and the parts on the disk are those of a job without Ray: either goes
on where the other was cut off. A worker that dies costs nothing: its bundles are handed out again.
"""

from __future__ import annotations

import collections
import io
import logging
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import AcdcError, BackendUnavailable, InputError
from ..model import Model
from ..photo.camera import Camera
from ..photo.images import ImageLike, bytes_of
from .ray_cluster import Cluster
from .rows import aligned, row_of

log = logging.getLogger(__name__)

#: Images of a bundle, and bytes from which on it takes no more.
IMAGES, BYTES = 16, 16 << 20
#: Bundles that a worker has at a time: one in work, one that waits.
AHEAD = 2
#: A bundle that so many workers died of is not handed out again.
TRIES = 3

Row = dict[str, Any]


@dataclass
class Bundle:
    """Images that follow each other, and how many workers died of them."""

    number: int
    names: list[str]
    images: list[ImageLike]
    deaths: int = 0


class Worker:
    """Runs in a process of the cluster."""

    def __init__(self, made: tuple[Any, ...], options: Mapping[str, Any], search: Mapping[str, Any],
                 camera: Camera | None) -> None:  # fmt: skip
        function, arguments = made
        self.model, self.search, self.camera = function(*arguments), search, camera
        if self.model.options != options:
            raise BackendUnavailable(f"a node computes otherwise: {self.model.options}, not {dict(options)}")

    def place(self) -> tuple[str, int]:
        """The node's name in the cluster and the number of this process."""
        import ray

        return ray.get_runtime_context().get_node_id(), os.getpid()

    def rows(self, names: Sequence[str], images: Sequence[ImageLike]) -> tuple[list[Row], list[str]]:
        """A row an image, and what there is to tell."""
        notes: list[str] = []
        results = aligned(self.model, names, images, self.search, self.camera)
        return [row_of(self.model, *each, notes.append, self.camera is not None) for each in results], notes


def ray_rows(
    cluster: Cluster, model: Model, names: Sequence[str], images: Iterator[ImageLike], search: Mapping[str, Any],
    camera: Camera | None, note: Callable[[str], None], stop: Callable[[], Any],
) -> Generator[Row, None, None]:  # fmt: skip
    """A row an image, in order; ends early once ``stop()`` is true. Raises `AcdcError` where bundles kill workers."""
    pool = _Pool(cluster.ray, model, search, camera)
    bundles, again = _bundled(names, images), collections.deque[Bundle]()
    done: dict[int, tuple[list[Row], list[str]]] = {}
    handed, following, more = 0, 0, True
    try:
        while not stop():
            while pool.free and (again or (more and handed - following < 2 * AHEAD * pool.size)):
                bundle = again.popleft() if again else next(bundles, None)
                if bundle is None:
                    more = False
                    continue
                handed = max(handed, bundle.number + 1)
                pool.hand_out(bundle)
            if not more and handed == following:
                return
            for bundle, result in pool.finished():
                if result is None:
                    again.append(bundle)
                else:
                    done[bundle.number] = result
            while following in done:
                rows, notes = done.pop(following)
                following += 1
                for text in notes:
                    note(text)
                yield from rows
    finally:
        pool.close()


class _Pool:
    """The workers, and the bundles that they have."""

    def __init__(self, ray: Any, model: Model, search: Mapping[str, Any], camera: Camera | None) -> None:
        self.ray = ray
        threads = model.threads if model.chosen_threads else 1
        gpu = model.options["device"].startswith("cuda")
        have = ray.cluster_resources()
        self.size = int(have.get("GPU", 0)) if gpu else int(have.get("CPU", 1)) // threads
        if not self.size:
            raise AcdcError(f"the Ray cluster has no {'GPU' if gpu else f'node with {threads} CPUs'} for a worker")
        function, (name, weights, options) = model.__reduce__()[:2]
        options = {**options, "backend": model.backend, "threads": threads}
        needs = {"num_gpus": 1} if gpu else {"num_cpus": threads}
        self.kind = ray.remote(**needs, scheduling_strategy="SPREAD")(Worker)
        self.arguments = ray.put((function, (name, weights, options))), model.options, search, camera
        self.unborn = 0  # workers that died before they were ready
        self.waiting: dict[Any, Any] = {}  # a worker that starts, by its first answer
        self.work: dict[Any, tuple[Any, Bundle]] = {}  # worker and bundle, by the answer that will come
        self.load: dict[Any, int] = {}  # bundles that each worker has
        self.places: dict[Any, tuple[str, int]] = {}  # of each worker that ever started
        for _ in range(self.size):
            self._start()

    def _start(self) -> None:
        worker = self.kind.remote(*self.arguments)
        self.waiting[worker.place.remote()] = worker

    @property
    def free(self) -> bool:
        return any(count < AHEAD for count in self.load.values())

    def hand_out(self, bundle: Bundle) -> None:
        """To the worker that has least to do."""
        worker = min(self.load, key=lambda each: self.load[each])
        self.load[worker] += 1
        self.work[worker.rows.remote(bundle.names, bundle.images)] = worker, bundle

    def finished(self) -> Iterator[tuple[Bundle, tuple[list[Row], list[str]] | None]]:
        """Bundles whose rows are there, or None in their place where the worker died. Waits for a moment."""
        answers, _ = self.ray.wait([*self.waiting, *self.work], timeout=0.2)
        for answer in answers:
            try:
                result = self.ray.get(answer)
            except self.ray.exceptions.RayTaskError as error:
                cause = error.cause
                raise cause if isinstance(cause, AcdcError) else AcdcError(f"a worker failed: {cause!r}") from error
            except self.ray.exceptions.RayError as error:
                yield from self._died(answer, error)
                continue
            if answer in self.waiting:
                worker = self.waiting.pop(answer)
                self.load[worker], self.places[worker] = 0, result
                log.debug("worker %d of node %s is ready", result[1], result[0])
            else:
                worker, bundle = self.work.pop(answer)
                if worker in self.load:
                    self.load[worker] -= 1
                yield bundle, result

    def _died(self, answer: Any, error: Exception) -> Iterator[tuple[Bundle, None]]:
        """All bundles of the worker come back, and another one is started in its place."""
        if answer in self.waiting:  # its node may be lost; another one may have room
            del self.waiting[answer]
            self.unborn += 1
            if self.unborn >= TRIES * self.size:
                reason = " ".join(str(error).split())[-300:]
                if "all references to the actor were removed" in reason:  # Ray says so of a token that it misses
                    reason = "the cluster drops them; RAY_AUTH_MODE may be another one there than here"
                raise AcdcError(f"workers cannot start: {reason}") from error
            return self._start()
        worker, first = self.work[answer]
        self.load.pop(worker, None)
        first.deaths += 1
        if first.deaths >= TRIES:
            raise AcdcError(f"{first.deaths} workers died of {first.names[0]} … {first.names[-1]}") from error
        log.warning("worker %d of node %s died; another one does its work", *reversed(self.places[worker]))
        for other in [key for key, (its, _) in self.work.items() if its == worker]:
            yield self.work.pop(other)[1], None
        self._start()

    def close(self) -> None:
        for worker in [*self.load, *self.waiting.values()]:
            self.ray.kill(worker)


def _bundled(names: Sequence[str], images: Iterator[ImageLike]) -> Iterator[Bundle]:
    number, bundle, size = 0, Bundle(0, [], []), 0
    for name, image in zip(names, images, strict=True):
        bundle.names.append(name)
        bundle.images.append(shipped(image))
        size += _bytes(bundle.images[-1])
        if len(bundle.names) >= IMAGES or size >= BYTES:
            yield bundle
            number, size = number + 1, 0
            bundle = Bundle(number, [], [])
    if bundle.names:
        yield bundle


def shipped(image: ImageLike) -> ImageLike:
    """What can go to another machine: of a file its bytes under its name, or why it cannot be read."""
    if not isinstance(image, (str, os.PathLike)):
        return image
    try:
        file = io.BytesIO(bytes_of(str(os.fspath(image))))
    except InputError as error:
        return error
    file.name = str(os.fspath(image))
    return file


def _bytes(image: ImageLike) -> int:
    return image.getbuffer().nbytes if isinstance(image, io.BytesIO) else len(image) if isinstance(image, bytes) else 0
