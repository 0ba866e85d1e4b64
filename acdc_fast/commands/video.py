"""`acdc-fast video`: the faces of a video, frame by frame."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path

from ..checks import check_free
from .arguments import (
    camera_arguments,
    camera_of,
    check_markup,
    complain,
    make_room,
    model_arguments,
    model_of,
    note,
    overwrite_argument,
    positive,
    rate,
    search_arguments,
    search_of,
)

#: One line of help, and an example.
HELP = "follow the faces in a video"
EXAMPLE = "acdc-fast video in.mp4 -o out.mp4"
SOURCES = (
    "film, - for one from stdin, a stream's address, a webcam's number such as 0; or pictures: several in their order,"
    " a folder, a pattern in quotes, or frames/%%05d.png"
)


def add_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("input", metavar="IN", nargs="+", help=SOURCES)
    sub.add_argument("-o", "--out", help="annotated video, or a .jsonl file; without it JSON lines are printed")
    overwrite_argument(sub)
    text = "show it in a window; q or Esc ends it (needs a screen and opencv-python)"
    sub.add_argument("--display", action="store_true", help=text)
    sub.add_argument("--rate", type=rate, metavar="FPS", help="frames a second, for pictures alone (25)")
    sub.add_argument("--every", type=positive, default=10, help="frames between runs of the detector (%(default)s)")
    text = "give each frame's own points; else they are steadied from frame to frame"
    sub.add_argument("--exact", action="store_true", help=text)
    sub.add_argument("--markup", help="markup to draw (default: 2d68)")
    search_arguments(sub)
    camera_arguments(sub)
    model_arguments(sub)


def run(options: argparse.Namespace) -> int:
    from ..stopping import StopRequests
    from ..video.films import run_video
    from ..video.opening import endless

    out = Path(options.out) if options.out else None
    source = options.input[0] if len(options.input) == 1 else options.input
    read = [os.path.realpath(name) for name in options.input]
    if out is not None and os.path.realpath(out) not in read:  # else `run_video` says what is wrong
        check_free([out], options.overwrite)
    search, camera = search_of(options), camera_of(options)
    model = model_of(options)
    check_markup(options.markup, model)
    make_room(out)
    # Of a film that is cut off nothing is written; a webcam or a stream has no other end than to be stopped.
    stops = StopRequests() if isinstance(source, str) and endless(source) else None
    with stops or contextlib.nullcontext():
        broken = run_video(
            model, source, options.out, options.every, options.markup, search, camera, options.display, stops,
            smooth=not options.exact, rate=options.rate,
        )  # fmt: skip
    if stops and stops.received:
        if options.out:
            note(f"stopped; {options.out} holds what came before")
        return 128 + stops.received[0]
    return complain(broken, 2) if broken else 0
