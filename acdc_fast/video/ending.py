"""Whether a film was read to its end. A file that was cut gives its first frames and, often, no error."""

from __future__ import annotations

import re
from typing import Any

#: A whole film may end so much earlier than its header says: seconds, and at most this share of a short film. Headers
#: are rounded, and encoders drop a frame or two at the end. To this come two of the longest times between frames: the
#: last frame's own length is often not written, and where the rate changes it may be any of those.
SECONDS, SHARE, FRAMES = 0.5, 0.05, 2
#: FFmpeg's AV_DISPOSITION_ATTACHED_PIC: a sound file's cover, one picture that "lasts" as long as the sound.
COVER = 0x400


class Ending:
    """Notes how far a film is read; `missing` then compares it with what the film's header says."""

    def __init__(self, container: Any, stream: Any) -> None:
        self._stream, self._start = stream, 0.0
        self._length = _length(container, stream)
        if stream.duration and stream.start_time:  # the stream's own length counts from its first frame
            self._start = float(stream.start_time * stream.time_base)
        self._packets, self._reached, self._gap = 0, 0.0, 0.0
        self._last: float | None = None
        self._cut = self._damaged = False

    def add_packet(self, packet: Any) -> None:
        if packet.size:  # an empty one only says that no more come
            self._packets += 1
            self._cut = bool(packet.is_corrupt)  # FFmpeg marks one that the file's end cuts through

    def add_frame(self, frame: Any) -> None:
        self._damaged = bool(frame.is_corrupt)  # parts of it are guessed, as the decoder marks it
        if frame.time is None:
            return
        lasts = float((getattr(frame, "duration", 0) or 0) * self._stream.time_base)
        if self._last is not None:
            self._gap = max(self._gap, frame.time - self._last)
        self._last = frame.time
        self._reached = max(self._reached, frame.time - self._start + lasts)

    def missing(self) -> str | None:
        """What the user is told, after the film's name; None for a film that is whole as far as can be known."""
        frames = self._stream.frames  # 0: unknown
        if self._length and not (frames and self._packets >= frames):
            spare = min(SECONDS, SHARE * self._length) + FRAMES * self._gap
            if self._length - self._reached > spare:
                return f"ends after {self._reached:.1f} of {self._length:.1f} seconds"
        return "ends in the middle of a frame" if self._cut or self._damaged else None


def _length(container: Any, stream: Any) -> float | None:
    """Seconds of the video by the film's header; None where it is not said."""
    if getattr(stream, "disposition", 0) & COVER:
        return None
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate)  # FFmpeg shortens the duration of a cut one to what is there
    if stream.duration:
        return float(stream.duration * stream.time_base)
    for key, text in stream.metadata.items():  # Matroska and WebM: 00:01:02.345000000
        clock = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", text.strip())
        if key.upper().startswith("DURATION") and clock:
            return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3])
    if len(container.streams) == 1 and container.duration:  # with others in it, it may be the length of the sound
        return float(container.duration) / 1e6
    return None
