"""Films are written in every format that is promised: frames, their times, and the sound of the source."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.patience import PATIENCE
from PIL import Image

av = pytest.importorskip("av", reason="PyAV is not installed (extra [video])")

from acdc_fast.errors import InputError  # noqa: E402
from acdc_fast.types import Faces  # noqa: E402
from acdc_fast.video.encoding import CODECS, codec_of  # noqa: E402
from acdc_fast.video.films import _Frames, run_video  # noqa: E402

RATE, COUNT = 12, 10


class NoFaces:
    """Stands in for a model: nobody is there."""

    markups = ("2d5",)

    def detect(self, picture: object) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)

    def align(self, picture: object, boxes: object = None) -> Faces:
        flat = {"2d5": np.zeros((0, 5), np.float32)}
        return Faces(*self.detect(picture), {"2d5": np.zeros((0, 5, 2), np.float32)}, flat, flat, None)


def source(path: Path, sound: bool, times: list[int]) -> Path:
    """Frames of one grey each, darker to lighter, at these steps of 1/RATE s; a second of a tone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, RATE)
        heard = container.add_stream("aac", rate=44100) if sound else None
        for place, step in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 20 * place, np.uint8), format="rgb24")
            frame.pts, frame.time_base = step, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if heard is not None:
            tone = np.sin(np.arange(44100) * 2 * np.pi * 440 / 44100).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            frame.sample_rate = 44100
            container.mux(heard.encode(frame))
            container.mux(heard.encode())
    return path


def read(path: Path) -> tuple[list[float], list[float], float]:
    """Greys and times of all frames, and seconds of sound."""
    greys, times, seconds = [], [], 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.video[0]):
            greys.append(float(frame.to_ndarray(format="rgb24").mean()))
            times.append(float(frame.time))
    with av.open(str(path)) as container:
        if container.streams.audio:
            seconds = sum(f.samples / f.sample_rate for f in container.decode(container.streams.audio[0]))
    return greys, times, seconds


@pytest.mark.parametrize("ending", CODECS)
def test_frames_times_and_sound(ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = source(tmp_path / "in.mkv", sound=ending not in (".webm",), times=list(range(COUNT)))
    out = tmp_path / f"out{ending}"
    assert run_video(NoFaces(), str(film), str(out), 5, None) is None  # type: ignore[arg-type]
    greys, times, seconds = read(out)
    # A palette of 256 colours has steps of 36 a channel; the other codecs lose a few levels.
    assert greys == pytest.approx([20 + 20 * i for i in range(COUNT)], abs=20 if ending == ".gif" else 8)
    # A gif's times are whole hundredths of a second, Matroska's whole thousandths.
    assert np.diff(times) == pytest.approx(np.full(COUNT - 1, 1 / RATE), abs=0.011 if ending == ".gif" else 0.0011)
    noted = capsys.readouterr().err
    if ending == ".gif":
        assert seconds == 0 and "holds no sound; it is left out" in noted and noted.count("\n") == 1
    else:
        assert noted == "" and (ending == ".webm" or seconds == pytest.approx(1, abs=0.06))


def test_variable_times_are_kept(tmp_path: Path) -> None:
    steps = [0, 1, 2, 5, 6, 9, 10, 11, 20, 21]
    run_video(NoFaces(), str(source(tmp_path / "in.mkv", False, steps)), str(tmp_path / "o.mkv"), 5, None)  # type: ignore[arg-type]
    assert read(tmp_path / "o.mkv")[1] == pytest.approx([s / RATE for s in steps], abs=0.0011)


def test_sound_that_a_format_cannot_hold_is_told(tmp_path: Path) -> None:
    film = source(tmp_path / "in.mkv", True, list(range(COUNT)))
    with pytest.raises(InputError, match=r"o\.webm: its sound cannot be taken over .*use \.mkv") as caught:
        run_video(NoFaces(), str(film), str(tmp_path / "o.webm"), 5, None)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) and not (tmp_path / "o.webm").exists()


def test_unknown_formats_are_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"films are written as \.mp4, .*\.gif; numbers as \.jsonl"):
        codec_of("film.xyz")
    with pytest.raises(InputError, match="films are written as"):
        film = source(tmp_path / "in.mkv", False, [0, 1])
        run_video(NoFaces(), str(film), str(tmp_path / "o.txt"), 5, None)  # type: ignore[arg-type]


def test_sound_is_not_gathered_where_nobody_takes_it(tmp_path: Path) -> None:
    """If only numbers are written, sound is not read: it would fill memory with the whole film's sound."""
    frames = _Frames(av, str(source(tmp_path / "in.mkv", True, list(range(COUNT)))))
    assert frames.sound is not None and len(list(frames)) == COUNT and frames.heard == []


@pytest.mark.parametrize(
    ("name", "frames", "said"),
    [
        ("out.mp4", [(64, 48), (32, 48)], "its frames are 64×48, then 32×48; a film has one size"),
        ("out.mp4", [(1, 1)], "frames of 1×1 cannot be encoded"),
    ],
)
def test_films_that_cannot_be_written_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, frames: list[tuple[int, int]], said: str
) -> None:
    """By the name of the source, and nothing is left."""
    path = source(tmp_path / "in.mp4", False, [0, 1])

    def of_sizes(self: _Frames) -> object:
        for number, (width, height) in enumerate(frames):
            yield np.zeros((height, width, 3), np.uint8), number / RATE, number

    monkeypatch.setattr(_Frames, "__iter__", of_sizes)
    with pytest.raises(InputError, match=said) as raised:
        run_video(NoFaces(), str(path), str(tmp_path / name), 1, "2d5")  # type: ignore[arg-type]
    assert str(path) in str(raised.value) and ".jsonl" in str(raised.value)
    assert [place.name for place in tmp_path.iterdir()] == ["in.mp4"]


def test_times_that_run_back_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in two films that were put one after the other; the message names no temporary file."""
    path = source(tmp_path / "in.mp4", False, [0, 1])

    def back(self: _Frames) -> object:
        for number in (*range(40), *range(40)):
            yield np.zeros((48, 64, 3), np.uint8), number / RATE, number

    monkeypatch.setattr(_Frames, "__iter__", back)
    with pytest.raises(InputError, match="cannot be encoded; perhaps its times are not in order") as raised:
        run_video(NoFaces(), str(path), str(tmp_path / "out.mp4"), 1, "2d5")  # type: ignore[arg-type]
    assert "/." not in str(raised.value) and [place.name for place in tmp_path.iterdir()] == ["in.mp4"]


def test_a_gif_has_no_more_frames_than_its_clock_counts(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="at most 100 frames a second, .* has 1000"):
        run_video(NoFaces(), str(tmp_path / "*.png"), str(tmp_path / "out.gif"), 1, "2d5", rate=1000.0)  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_full_disk_is_an_error_of_the_disk(tmp_path: Path) -> None:
    """Not of the film: a limit on a file's size stands in for it."""
    path = source(tmp_path / "in.mp4", False, list(range(10)))
    out = tmp_path / "out.mp4"
    text = f"""
import resource, signal, sys
sys.path[:0] = {sys.path!r}
from video.test_encoding import NoFaces
from acdc_fast.video.films import run_video
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
try:
    run_video(NoFaces(), {str(path)!r}, {str(out)!r}, 1, "2d5")
except OSError as error:
    print(error.strerror, error.filename)
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout == f"File too large {out}\n", done.stderr
    assert not out.exists() and len(list(tmp_path.iterdir())) == 1
