"""Short films of noise in any container, and what is said of them when they are read."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from acdc_fast.video.films import _Frames

COUNT, RATE = 40, 25


def film(
    path: Path,
    codec: str = "libx264",
    movflags: str = "",
    time: Callable[[int], int] = lambda i: i,
    sound: float = 0,
    count: int = COUNT,
) -> Path:
    """``count`` frames of noise at ``time(i)``/25 s, and ``sound`` seconds of silence."""
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        stream = container.add_stream(codec, rate=RATE, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "rgb8" if codec == "gif" else "yuv420p"
        heard = container.add_stream("libopus" if codec == "libvpx-vp9" else "aac", rate=48000) if sound else None
        for i in range(count):
            noise = np.random.default_rng(i).integers(0, 256, (64, 96, 3)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = time(i), Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if heard is not None:
            silence = np.zeros((1, int(sound * 48000)), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.sample_rate = 48000
            container.mux(_heard(heard, frame))
            container.mux(heard.encode())
    return path


def _heard(heard: object, frame: object) -> list[object]:
    resampler = av.AudioResampler(format=heard.format.name, layout=heard.layout.name, rate=48000)  # type: ignore[attr-defined]
    return [packet for part in resampler.resample(frame) for packet in heard.encode(part)]  # type: ignore[attr-defined]


def read(path: Path) -> tuple[int, str | None]:
    """The number of frames, and what is said of the film's end."""
    frames = _Frames(av, str(path))
    return sum(1 for _ in frames), frames.broken
