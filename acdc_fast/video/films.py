"""A video in, an annotated video or a line of JSON for each frame out. Needs PyAV (extra [video])."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BackendUnavailable, InputError
from ..files import written_beside
from ..model import Model
from ..photo.draw import draw_faces
from ..readout.results import as_dict
from .tracking import Tracker


def run_video(model: Model, source: str, out: str | None, every: int, markup: str | None) -> str | None:
    """Writes ``out``: annotated video (H.264; sound is left out), or JSON lines where it ends in .jsonl or is None.

    Gives a note where the video breaks off: what came before it is written. `InputError` where nothing can be read.
    """
    av = _av()
    if not Path(source).is_file():
        raise InputError(f"{source}: no such file")
    if out is not None and Path(out).resolve() == Path(source).resolve():
        raise InputError(f"{out}: would overwrite the video that is being read")
    frames = _Frames(av, source)
    tracker = Tracker(model, every)
    if out is None:
        for line in _lines(frames, tracker):
            print(line, flush=True)
    elif out.endswith(".jsonl"):
        with written_beside(out) as beside, beside.open("w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in _lines(frames, tracker))
    else:
        with written_beside(out) as beside:
            _write(av, frames, tracker, beside, out, markup)
    return frames.broken


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise BackendUnavailable(f"video needs PyAV ({error}): pip install 'acdc-fast[video]'") from error
    av.logging.set_level(None)  # libav's own lines would mix with ours
    return av


class _Frames:
    """Upright RGB frames of a file with their times; ``broken`` says afterwards where it broke off."""

    def __init__(self, av: Any, source: str) -> None:
        self.av, self.source = av, source
        self.broken: str | None = None
        try:
            self.container = av.open(source)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"{source}: is not a video that can be read ({_line(error)})") from error
        if not self.container.streams.video:
            raise InputError(f"{source}: holds no video")
        self.stream = self.container.streams.video[0]
        self.stream.thread_type = "AUTO"

    def __iter__(self) -> Iterator[tuple[np.ndarray, float | None, int | None]]:
        count = 0
        with self.container:
            try:
                for frame in self.container.decode(self.stream):
                    turns = round(getattr(frame, "rotation", 0) / 90) % 4
                    rgb = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
                    yield rgb, frame.time, frame.pts
                    count += 1
            except self.av.FFmpegError as error:
                self.broken = f"{self.source}: breaks off after {count} frames ({_line(error)})"
        if not count:
            raise InputError(self.broken or f"{self.source}: holds no frames")


def _lines(frames: _Frames, tracker: Tracker) -> Iterator[str]:
    for index, (rgb, time, _) in enumerate(frames):
        faces = as_dict(tracker.step(rgb))
        yield json.dumps({"frame": index, "time": None if time is None else round(time, 6), "faces": faces})


def _write(av: Any, frames: _Frames, tracker: Tracker, beside: Path, out: str, markup: str | None) -> None:
    try:
        container = av.open(str(beside), "w")
    except ValueError as error:
        raise InputError(f"{out}: no video format goes by this name; use .mp4 or .mkv") from error
    with container:
        stream, size = None, (0, 0)
        for rgb, _, pts in frames:
            if stream is None:
                # H.264 halves the colours' resolution, so sides are even; the last row or column may go.
                size = (rgb.shape[1] // 2 * 2, rgb.shape[0] // 2 * 2)
                if min(size) < 2:
                    raise InputError(f"{frames.source}: frames of {rgb.shape[1]}×{rgb.shape[0]} cannot be encoded")
                stream = container.add_stream("libx264", rate=frames.stream.average_rate or 25)
                stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
                stream.codec_context.time_base = frames.stream.time_base
                stream.options = {"crf": "18", "preset": "veryfast"}
            picture = np.asarray(draw_faces(rgb, tracker.step(rgb), markup))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[: size[1], : size[0]]), format="rgb24")
            frame.pts, frame.time_base = pts, frames.stream.time_base
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


