"""Frames a second of one face in a film, and what each part of the work takes: decoding, following, drawing, encoding.

    python bench/video_rates.py [--weights acdc-w16-fast] [--size 640x480] [--frames 150] [--rounds 5] [--threads 2]

The film is H.264: a photograph of a face that wanders over the picture, with noise in each frame. In each round the
parts take their turns. Printed: milliseconds a frame, median and quartiles over the rounds, and frames a second of the
median. ``exact`` follows without steadying. A run whose face is not there with one number in each frame ends with 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from PIL import Image

from acdc_fast import Faces, Model
from acdc_fast.photo.draw import draw_faces

PHOTO = Path(__file__).resolve().parents[1] / "examples" / "astronaut.jpg"
#: Of the photograph's middle, pixels of the film: a head that moves up to 1.7 % of the width a frame.
WAY, PERIODS = (0.08, 0.05), (60, 85)
NOISE = 3.0


def film(size: tuple[int, int], count: int) -> list[np.ndarray]:
    """(H, W, 3) uint8 frames: the photograph covers them with room to wander."""
    width, height = size
    photo = Image.open(PHOTO).convert("RGB")
    scale = 1.25 * max(width / photo.width, height / photo.height)
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC)
    rng, frames = np.random.default_rng(0), []
    for f in range(count):
        x, y = (way * width * np.sin(2 * np.pi * f / period) for way, period in zip(WAY, PERIODS, strict=True))
        left, top = (photo.width - width) / 2 + x, (photo.height - height) / 6 * (1 + y / width)
        box = (left, top, left + width, top + height)
        picture = np.asarray(photo.resize(size, Image.Resampling.BILINEAR, box=box))
        frames.append(np.clip(picture + rng.normal(0, NOISE, picture.shape), 0, 255).astype(np.uint8))
    return frames


def encode(frames: list[np.ndarray], path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "18", "preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def decode(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="acdc-w16-fast")
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    model = Model.from_pretrained(options.weights, threads=options.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        encode(film((width, height), options.frames), path)
        frames = decode(path)
        found: dict[bool, list[Faces]] = {}

        def follow(smooth: bool) -> None:
            found[smooth] = list(model.track(frames, smooth=smooth))

        def draw() -> None:
            for frame, faces in zip(frames, found[True], strict=True):
                draw_faces(frame, faces)

        parts: dict[str, Callable[[], object]] = {
            "decode": lambda: decode(path),
            "follow": lambda: follow(True),
            "follow, exact": lambda: follow(False),
            "draw": draw,
            "encode": lambda: encode(frames, Path(folder) / "again.mp4"),
        }
        times: dict[str, list[float]] = {name: [] for name in parts}
        for turn in range(options.rounds + 1):
            for name, part in parts.items():
                start = time.perf_counter()
                part()
                if turn:  # the first round warms up
                    times[name].append(1000 * (time.perf_counter() - start) / len(frames))
    print(f"{model!r}, {options.threads} threads; {len(frames)} frames of {options.size}, {options.rounds} rounds")
    for name, each in times.items():
        low, middle, high = np.percentile(each, [25, 50, 75])
        print(f"{name:14s} {middle:7.2f} ms a frame ({low:.2f} to {high:.2f}), {1000 / middle:7.1f} frames a second")
    lost = sum(faces.ids is None or faces.ids.tolist() != [0] for each in found.values() for faces in each)
    if lost:
        print(f"{lost} frames without the one face")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
