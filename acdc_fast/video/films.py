"""A video in, an annotated video or a line of JSON for each frame out. Needs PyAV (extra [video])."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import BackendUnavailable, InputError
from ..files import written_beside
from ..model import Model
from ..photo.camera import Camera
from ..photo.detection import Search
from ..photo.draw import draw_faces
from ..readout.results import as_dict
from ..stopping import StopRequests
from .damage import Damage
from .encoding import codec_of
from .ending import Ending
from .opening import endless, opened
from .pictures import RATE, Pictures, listed, overwrites, pictures_of
from .tracking import Tracker, stepper
from .window import Window
from .writing import Step, write_film

#: (H, W, 3) uint8 RGB, time in seconds, time in the stream's own unit.
Frame = tuple[np.ndarray, "float | None", "int | None"]


def run_video(
    model: Model,
    source: str | Sequence[str],
    out: str | None,
    every: int,
    markup: str | None,
    search: Mapping[str, Any] | None = None,
    camera: Camera | None = None,
    display: bool = False,
    stops: StopRequests | None = None,
    smooth: bool = True,
    rate: float | None = None,
) -> str | None:
    """``source``: a film, ``-`` for one from standard input, a stream's address or a webcam's number; or pictures, of
    which ``rate`` (25) make a second: a list of files, a folder, a pattern, numbered files. ``display``: shows it in a
    window alone.

    Writes ``out``: an annotated film with the sound of its source, or JSON lines where it ends in .jsonl or is None.

    ``search``: what is looked for, as in `Model.detect`; ``camera``: as in `Model.align`; ``smooth``: as in
    `Model.track`; ``stops``: once one is received, the video ends as if the source had, and what is written is whole.
    Gives a note where the video breaks off: what came before is written. Raises `InputError` where nothing can be read,
    and for a name that no format of film goes by.
    """
    av = _av()
    if display and out is not None:
        raise InputError(f"--display shows the video and writes no {out}: give one of the two")
    if out is not None and isinstance(source, str) and os.path.realpath(out) == os.path.realpath(source):
        raise InputError(f"{out}: would overwrite the video that is being read")
    if out is not None and not out.endswith(".jsonl"):
        codec_of(out)
    frames = _opened(av, source, rate, stops)
    if out is not None and isinstance(frames, Pictures) and overwrites(out, frames):
        raise InputError(f"{out}: would overwrite a picture that is being read")
    step = stepper(Tracker(model, every, search=Search(**search or {}), camera=camera), smooth)
    if display:
        _show(frames, step, markup)
    elif out is None:
        for line in _lines(frames, step, frames.names):
            print(line, flush=True)
    elif out.endswith(".jsonl"):
        with written_beside(out) as beside, beside.open("w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in _lines(_shown(frames), step, frames.names))
    else:
        with written_beside(out) as beside:
            note = write_film(av, frames, _shown(frames), step, beside, out, markup)
        if note:
            print(f"acdc-fast: {note}", file=sys.stderr)
    return frames.broken


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise BackendUnavailable(f"video needs PyAV ({error}): pip install 'acdc-fast[video]'") from error
    av.logging.set_level(None)  # libav's own lines would mix with ours
    return av


def _opened(av: Any, source: str | Sequence[str], rate: float | None, stops: StopRequests | None) -> _Frames | Pictures:
    if not isinstance(source, str):
        return Pictures(*listed(source), rate or RATE)
    pictures = None if source == "-" else pictures_of(source)
    if pictures is not None:
        return Pictures(source, *pictures, rate or RATE)
    if rate is not None:
        raise InputError(f"{source}: has a rate of its own; --rate is for pictures")
    return _Frames(av, source, stops)


class _Frames:
    """Upright RGB frames of a file with their times; ``broken`` says afterwards what was wrong with it."""

    def __init__(self, av: Any, source: str, stops: StopRequests | None = None) -> None:
        self.av, self.source, self.stops = av, "standard input" if source == "-" else source, stops
        self.broken: str | None = None
        self.container = opened(av, source)
        if not self.container.streams.video:
            raise InputError(f"{self.source}: holds no video")
        self.stream = self.container.streams.video[0]
        self.stream.thread_type = "AUTO"
        self.sound = self.container.streams.audio[0] if self.container.streams.audio else None
        self.rate, self.time_base = Fraction(self.stream.average_rate or 25), self.stream.time_base
        # Many files do not say how many frames they hold.
        length = (self.stream.duration or 0) * (self.stream.time_base or 0)
        self.total = round(self.stream.frames or length * (self.stream.average_rate or 0))
        self.names: dict[int, str] = {}  # pictures have some
        self.listens = False  # whether packets of sound are kept: only where a film is written
        self.heard: list[Any] = []  # those that came before the last frame

    def __iter__(self) -> Generator[Frame, None, None]:
        count, ending, damage = 0, Ending(self.container, self.stream), Damage()
        with self.container:
            try:
                streams = [self.stream, *([self.sound] if self.listens else [])]
                for packet in self.container.demux(streams):
                    if self.listens and packet.stream is self.sound:
                        if packet.dts is not None:  # the last packet only says that no more come
                            self.heard.append(packet)
                        continue
                    ending.add_packet(packet)
                    damage.add_packet(packet)
                    try:
                        decoded = packet.decode()
                    except self.av.error.InvalidDataError:  # what comes after it can mostly be decoded
                        damage.add_error()
                        continue
                    for frame in decoded:
                        ending.add_frame(frame)
                        damage.add_frame(frame)
                        turns = round(getattr(frame, "rotation", 0) / 90) % 4
                        rgb = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
                        yield rgb, frame.time, frame.pts
                        count += 1
                        if self.stops and self.stops.received:
                            return
                wrong = None if endless(self.source) else ending.missing() or damage.told()
                self.broken = f"{self.source}: {wrong}" if wrong else None
            except self.av.FFmpegError as error:
                self.broken = f"{self.source}: breaks off after {count} frames ({_line(error)})"
        if not count:
            raise InputError(self.broken or f"{self.source}: holds no frames")


def _shown(frames: _Frames | Pictures) -> Iterator[Frame]:
    """The frames, with a progress bar on a terminal alone."""
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise BackendUnavailable(f"video needs tqdm ({error}): pip install 'acdc-fast[video]'") from error
    yield from tqdm(frames, total=frames.total or None, unit="frame", disable=None, dynamic_ncols=True)


def _show(frames: _Frames | Pictures, step: Step, markup: str | None) -> None:
    """The annotated frames in a window, until the video or the user ends it."""
    with Window(f"acdc-fast: {frames.source}") as window, contextlib.closing(iter(frames)) as running:
        for rgb, _, _ in running:
            if not window.show(np.asarray(draw_faces(rgb, step(rgb), markup))):
                break


def _lines(frames: Iterable[Frame], step: Step, names: Mapping[int, str]) -> Iterator[str]:
    """``names``: of the pictures, by their time."""
    for index, (rgb, time, pts) in enumerate(frames):
        image = {"image": names[pts]} if pts is not None and pts in names else {}
        time = None if time is None else round(time, 6)
        yield json.dumps({"frame": index, **image, "time": time, "faces": as_dict(step(rgb))})


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
