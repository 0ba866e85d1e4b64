"""An endless stream is stopped by a signal: what was written is whole. A film that is cut off leaves nothing."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from helpers.patience import PATIENCE

av = pytest.importorskip("av", reason="PyAV is not installed (extra [video])")

RATE = 20


class Camera(BaseHTTPRequestHandler):
    """Sends a film that never ends, a frame each twentieth of a second; its brightness tells which frame it is."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        container = av.open(self.wfile, "w", format="mpegts")
        stream = container.add_stream("mpeg1video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.gop_size, stream.bit_rate = 5, 2_000_000
        try:
            for number in range(100_000):
                shade = 40 + number % 150
                picture = np.full((48, 64, 3), shade, np.uint8)
                picture[::2] = np.random.default_rng(number).integers(0, 255, (24, 64, 3))  # it fills the buffers
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
                self.wfile.flush()
                time.sleep(1 / RATE)
        except (OSError, av.FFmpegError):  # nobody looks any more
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stream() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        server.daemon_threads, server.block_on_close = True, False
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/film.ts"
        server.shutdown()
        thread.join()


def until(what: Callable[[], bool], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "nothing was written"
        time.sleep(0.1)


def started(source: str, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "acdc_fast.commands.cli", "video", source, "-o", str(out),
               "--weights", "acdc-w16-phone", "--detector", "own"]  # fmt: skip
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    # A shell that starts the tests in the background lets its children ignore Ctrl-C.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, preexec_fn=heard
    )


def written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize(("name", "how"), [("o.mkv", signal.SIGINT), ("o.jsonl", signal.SIGTERM)])
def test_a_stream_is_stopped_and_its_film_is_whole(stream: str, name: str, how: signal.Signals, tmp_path: Path) -> None:
    out = tmp_path / name
    process = started(stream, out)
    try:
        until(lambda: process.poll() is not None or written(tmp_path) > 5000)
        process.send_signal(how)
        _, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 128 + how, said
    assert said.strip() == f"acdc-fast: stopped; {out} holds what came before"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name == "o.jsonl":
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        assert [line["frame"] for line in lines] == list(range(len(lines))) and len(lines) > 10
        return
    with av.open(str(out)) as film:  # a file without its end would have no duration
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        assert len(frames) > 3 and film.duration > 0
    shades = [float(np.median(frame[21::2])) for frame in frames]
    rises = sum(after > before - 1 for before, after in itertools.pairwise(shades))
    assert rises > 0.8 * (len(shades) - 1)  # in their order; the codecs blur the shades


def test_a_film_that_is_cut_off_leaves_nothing(tmp_path: Path) -> None:
    source, out = tmp_path / "in.mkv", tmp_path / "out"
    out.mkdir()
    with av.open(str(source), "w") as film:
        track = film.add_stream("mpeg4", rate=25)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        for number in range(20_000):
            film.mux(track.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), number % 250, np.uint8))))
        film.mux(track.encode())
    process = started(str(source), out / "o.jsonl")
    try:
        until(lambda: process.poll() is not None or written(out) > 5000)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in said and not list(out.iterdir())
