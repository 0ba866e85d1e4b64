"""Writes a film. The ending of the file's name chooses the codec. The sound is copied without a change."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError


class Codec(NamedTuple):
    name: str  # of FFmpeg's encoder
    pixels: str  # its pixel format
    options: dict[str, str]
    even: bool  # sides must be even: colours have half the resolution
    own_times: bool  # each frame has its own time; else frames follow each other at one rate
    sound: bool


#: A GIF counts in hundredths of a second.
GIF_RATE = 100
_H264 = Codec("libx264", "yuv420p", {"crf": "18", "preset": "veryfast"}, True, True, True)
_VP9 = {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6"}
#: By the ending of the file's name.
CODECS = {
    ".mp4": _H264,
    ".mov": _H264,
    ".mkv": _H264,
    ".webm": Codec("libvpx-vp9", "yuv420p", _VP9, True, True, True),
    ".avi": Codec("mpeg4", "yuv420p", {"qscale": "3"}, True, False, True),
    ".gif": Codec("gif", "rgb8", {}, False, False, False),
}  # fmt: skip


def codec_of(out: str) -> Codec:
    """The codec for a film of this name. Raises `InputError` for an ending that is not known."""
    ending = Path(out).suffix.lower()
    if ending not in CODECS:
        raise InputError(f"{out}: films are written as {', '.join(CODECS)}; numbers as .jsonl")
    return CODECS[ending]


class FilmWriter:
    """Writes pictures, and packets of sound as they come, to an open PyAV container.

    ``rate``: frames a second; ``time_base``: seconds of one step of a frame's time, for codecs with times of their own.
    """

    def __init__(self, container: Any, codec: Codec, rate: Fraction, time_base: Fraction, sound: Any | None) -> None:
        self._container, self._codec, self._count = container, codec, 0
        self._stream: Any = None  # made with the first picture, whose size it has
        self._rate = rate if codec.own_times else rate.limit_denominator(1001)
        self._time_base = time_base if codec.own_times else 1 / self._rate
        self._sound = container.add_stream_from_template(sound) if sound is not None else None

    def add(self, picture: np.ndarray, pts: int | None) -> None:
        """(H, W, 3) uint8, RGB. All pictures have the size of the first. Raises `InputError` for one without pixels."""
        import av

        step = 2 if self._codec.even else 1
        # Where sides must be even, an odd last row or column is left out.
        height, width = picture.shape[0] // step * step, picture.shape[1] // step * step
        if self._stream is None:
            if min(height, width) < 2:
                raise InputError(f"frames of {picture.shape[1]}×{picture.shape[0]} cannot be encoded")
            self._stream = self._container.add_stream(self._codec.name, rate=self._rate)
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, self._codec.pixels
            self._stream.codec_context.time_base = self._time_base
            self._stream.options = dict(self._codec.options)
        size = self._stream.height, self._stream.width
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[: size[0], : size[1]]), format="rgb24")
        frame.pts, frame.time_base = (pts if self._codec.own_times else self._count), self._time_base
        self._count += 1
        self._container.mux(self._stream.encode(frame))

    def add_sound(self, packet: Any) -> None:
        """A packet of the stream of sound that the writer was made with."""
        packet.stream = self._sound
        self._container.mux(packet)

    def end(self) -> None:
        """Writes what the encoder still holds."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())
