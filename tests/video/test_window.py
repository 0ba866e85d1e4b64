"""`video --display`, with a window that is faked: what is shown, what ends it, and one line where there can be none."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")
av = pytest.importorskip("av", reason="PyAV is not installed (extra [video])")

from helpers.paths import PHOTO  # noqa: E402
from helpers.small import small_weights  # noqa: E402

from acdc_fast.commands import cli  # noqa: E402
from acdc_fast.video import films, opening  # noqa: E402
from acdc_fast.weights import save_weights  # noqa: E402

COUNT = 6


class Screen:
    """Stands in for cv2. ``keys``: what waitKey gives after each frame; ``closed``: the frame at which it is closed."""

    WINDOW_NORMAL, WINDOW_KEEPRATIO, WND_PROP_VISIBLE, error = 0, 0, 4, RuntimeError

    def __init__(self, keys: dict[int, int] | None = None, closed: int = 99, gui: str = "QT5") -> None:
        self.keys, self.closed, self.gui = keys or {}, closed, gui
        self.shown: list[np.ndarray] = []
        self.open: list[str] = []

    def getBuildInformation(self) -> str:
        return f"  GUI:                {self.gui}\n    QT: no"

    def namedWindow(self, title: str, flags: int) -> None:
        if self.gui == "broken":
            raise RuntimeError("not\nimplemented")
        self.open.append(title)

    def imshow(self, title: str, bgr: np.ndarray) -> None:
        assert title in self.open and bgr.dtype == np.uint8 and bgr.flags.c_contiguous
        self.shown.append(bgr.copy())

    def waitKey(self, delay: int) -> int:
        return self.keys.get(len(self.shown), -1)

    def getWindowProperty(self, title: str, which: int) -> float:
        return float(len(self.shown) < self.closed)

    def destroyAllWindows(self) -> None:
        self.open.clear()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_weights(tmp_path / "w.safetensors", small_weights(stages=1))
    face = np.asarray(Image.open(PHOTO).convert("RGB").crop((150, 30, 310, 190)))
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 160, 160, "yuv420p"
        for i in range(COUNT):
            picture = np.roll(face, 4 * i, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    monkeypatch.setenv("DISPLAY", ":9")
    return tmp_path


def run(place: Path, source: str, *more: str) -> int:
    weights = ["--weights", str(place / "w.safetensors"), "--resolution", "32"]
    return cli.main(["video", source, "--display", *more, *weights])


def test_each_frame_is_shown_as_it_is_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in OpenCV's order of colours, with the drawing on it; nothing stays open."""
    screen = Screen()
    drawn: list[np.ndarray] = []

    def draw(rgb: np.ndarray, *rest: Any) -> np.ndarray:
        drawn.append(rgb.copy())
        drawn[-1][:9, :9] = 250, 3, len(drawn)
        return drawn[-1]

    monkeypatch.setattr(films, "draw_faces", draw)
    monkeypatch.setitem(sys.modules, "cv2", screen)
    assert run(place, str(place / "in.mp4")) == 0 and not screen.open
    assert len(screen.shown) == COUNT == len(drawn)
    assert all(np.array_equal(a[:, :, ::-1], b) for a, b in zip(screen.shown, drawn, strict=True))
    plain = [rgb for rgb, _, _ in films._Frames(av, str(place / "in.mp4"))]
    assert all(np.array_equal(a[9:], b[9:]) for a, b in zip(plain, drawn, strict=True))
    assert not np.array_equal(plain[0][9:], plain[3][9:])


@pytest.mark.parametrize(
    "screen", [Screen({3: ord("q")}), Screen({3: 27}), Screen({3: 0x100000 + 27}), Screen({2: ord("x")}, closed=3)]
)
def test_what_ends_it(screen: Screen, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", screen)
    assert run(place, str(place / "in.mp4")) == 0
    assert len(screen.shown) == 3 and not screen.open


@pytest.mark.parametrize(
    ("screen", "line"),
    [
        (None, "needs OpenCV with windows"), (Screen(gui="NONE"), "this OpenCV has no windows"),
        (Screen(gui="broken"), "no window can be opened (not implemented)"),
    ],
)  # fmt: skip
def test_no_window(
    screen: Any, line: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", screen)
    assert run(place, str(place / "in.mp4")) == 2
    said = capsys.readouterr().err
    assert line in said and said.count("\n") == 1


def test_no_screen_and_no_output_beside(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", Screen())
    assert run(place, str(place / "in.mp4"), "-o", str(place / "o.mp4")) == 2 and not (place / "o.mp4").exists()
    assert "give one of the two" in capsys.readouterr().err
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert run(place, str(place / "in.mp4")) == 2
    assert "there is no screen here" in capsys.readouterr().err


def test_cameras_and_streams(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A number is a webcam unless a file has this name; an address is opened with patience; the rest is no file."""
    asked: list[tuple[str, dict[str, Any]]] = []
    fake = SimpleNamespace(FFmpegError=av.FFmpegError, open=lambda source, **more: asked.append((source, more)) or "it")
    monkeypatch.chdir(place)
    (place / "7").write_bytes(b"")
    for system, device in (("linux", "/dev/video3"), ("darwin", "3")):
        monkeypatch.setattr(sys, "platform", system)
        assert opening.opened(fake, "3") == "it" and asked.pop()[0] == device
    monkeypatch.setattr(sys, "platform", "linux")
    assert opening.opened(fake, "3") == "it" and asked.pop()[1] == {"format": "v4l2"}
    assert opening.opened(fake, "7") == "it" and asked.pop() == ("7", {})
    assert opening.opened(fake, "rtsp://camera/1") == "it"
    assert asked.pop() == ("rtsp://camera/1", {"timeout": opening.PATIENCE})
    monkeypatch.setitem(sys.modules, "cv2", Screen())
    for source, line in (("999", "webcam 999: cannot be opened"), ("none.mp4", "none.mp4: no such file"),
                         ("http://127.0.0.1:9/x", "is not a video that can be read")):  # fmt: skip
        assert run(place, source) == 2
        said = capsys.readouterr().err
        assert line in said and said.count("\n") == 1
