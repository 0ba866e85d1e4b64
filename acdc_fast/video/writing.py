"""Writes the annotated film that `films.run_video` was asked for."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import InputError
from ..photo.draw import draw_faces
from ..types import Faces
from .encoding import GIF_RATE, FilmWriter, codec_of

#: (H, W, 3) uint8 RGB → its faces.
Step = Callable[[np.ndarray], Faces]
#: Errors of the system, not of the film.
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)


class Source(Protocol):
    """What is known of a film that is read."""

    source: str
    sound: Any
    listens: bool
    heard: list[Any]
    rate: Fraction
    time_base: Fraction


def write_film(
    av: Any, film: Source, frames: Iterable[tuple[np.ndarray, Any, int | None]], step: Step, beside: Path, out: str,
    markup: str | None,
) -> str | None:  # fmt: skip
    """Writes ``frames`` of ``film`` to ``beside``; ``out`` is its name afterwards.

    Gives a note where the sound could not be taken over. Raises `InputError` for a film that no file of this kind can
    hold, `OSError` where the disk fails.
    """
    codec = codec_of(out)
    sound, note = (film.sound if codec.sound else None), None
    if film.sound is not None and not codec.sound:
        note = f"{out}: a file of this kind holds no sound; it is left out"
    form = "gif" if codec.name == "gif" else None
    if form and film.rate > GIF_RATE:
        has = f"{film.source} has {float(film.rate):g}"
        raise InputError(f"{out}: a GIF shows at most {GIF_RATE} frames a second, {has}; write .mp4 instead")
    with _encoding(av, film.source, out), av.open(str(beside), "w", format=form) as container:
        try:
            writer = FilmWriter(container, codec, film.rate, film.time_base, sound)
        except (av.FFmpegError, ValueError) as error:
            raise InputError(f"{out}: its sound cannot be taken over ({_line(error)}); use .mkv") from error

        def pass_on_sound() -> None:
            for packet in film.heard:
                writer.add_sound(packet)
            film.heard.clear()

        film.listens = sound is not None
        for rgb, pts in _of_one_size(film.source, frames):
            writer.add(np.asarray(draw_faces(rgb, step(rgb), markup)), pts)
            pass_on_sound()
        writer.end()
        pass_on_sound()
    return note


def _of_one_size(
    source: str, frames: Iterable[tuple[np.ndarray, Any, int | None]]
) -> Iterator[tuple[np.ndarray, int | None]]:
    size: tuple[int, ...] = ()
    for rgb, _, pts in frames:
        size = size or rgb.shape
        if min(size[:2]) < 2:
            raise InputError(f"{source}: frames of {size[1]}×{size[0]} cannot be encoded; write .jsonl instead")
        if rgb.shape != size:
            sizes = f"{size[1]}×{size[0]}, then {rgb.shape[1]}×{rgb.shape[0]}"
            raise InputError(f"{source}: its frames are {sizes}; a film has one size. Write .jsonl instead")
        yield rgb, pts


@contextlib.contextmanager
def _encoding(av: Any, source: str, out: str) -> Iterator[None]:
    """Says an encoder's error in one line, with the names that the user knows."""
    try:
        yield
    except av.FFmpegError as error:
        if error.errno in OF_THE_DISK:
            raise OSError(error.errno, os.strerror(error.errno), out) from error
        why = error.strerror or type(error).__name__
        what = "cannot be encoded; perhaps its times are not in order"
        raise InputError(f"{out}: a frame of {source} {what} ({why}). Write .jsonl instead") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
