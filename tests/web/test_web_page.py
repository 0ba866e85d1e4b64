"""The page of examples/web in headless Chromium, with a picture as its camera, beside `Model.align`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import PHOTO, ROOT
from helpers.patience import PATIENCE
from PIL import Image

from acdc_fast import Faces, Model
from acdc_fast.photo.coordinates import box_from_square, square_from_box

WEB = ROOT / "examples" / "web"
RUNTIME = Path(os.environ.get("ACDC_ONNXRUNTIME_WEB") or WEB / "node_modules" / "onnxruntime-web") / "dist"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

if CHROMIUM is None:
    pytest.skip("chromium is not installed: nothing shows the page", allow_module_level=True)
if not RUNTIME.is_dir():
    why = f"{RUNTIME} is not there: `npm install` in examples/web, or name the package's folder in ACDC_ONNXRUNTIME_WEB"
    pytest.skip(why, allow_module_level=True)
pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra [onnx]): no networks for the page")

sys.path.insert(0, str(WEB))
import make_page  # noqa: E402
import serve  # noqa: E402

sys.path.pop(0)

WEIGHTS = "acdc-w16-phone"
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]  # fmt: skip
CAMERA = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
#: Of a picture the page and Pillow read the same numbers, so boxes and points differ by what float32 rounds away: at
#: most 3e-5 pixels and 4e-6 of the box's side were seen. A film keeps colours at half its size, and its grey values
#: differ by a few of 255: 0.6 % and 0.4 degrees were seen.
BOX = 0.01  # pixels
STILL, FILM = (1e-4, 0.01), (0.01, 1.0)  # points as a share of the box's side; degrees


def several() -> Image.Image:
    """Two faces of other sizes, one of them mirrored, so that a neighbour's landmarks would be seen."""
    face = Image.open(PHOTO).convert("RGB").crop((110, 0, 350, 240))
    canvas = Image.new("RGB", (640, 400), (80, 95, 110))
    canvas.paste(face.resize((300, 300)), (20, 40))
    canvas.paste(face.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((180, 180)), (410, 190))
    return canvas


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained(WEIGHTS)


@pytest.fixture(scope="module")
def camera_frame(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """640 × 480, as MJPEG has it: one JPEG after the other."""
    path = tmp_path_factory.mktemp("camera") / "frame.jpg"
    Image.open(PHOTO).convert("RGB").crop((0, 0, 512, 384)).resize((640, 480)).save(path, quality=95)
    path.with_suffix(".mjpeg").write_bytes(path.read_bytes() * 2)
    return path


class Shown(dict[str, Any]):
    """What the page said of itself, and what it asked the server for."""

    asked: list[tuple[str, str]]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, camera_frame: Path) -> Shown:
    site = tmp_path_factory.mktemp("site")
    make_page.make_page(site, WEIGHTS, RUNTIME)
    for name in ("page.html", "page.js"):
        shutil.copy(Path(__file__).with_name(name), site)
    several().save(site / "several.png")
    told, asked, done = Shown(), [], threading.Event()

    class Handler(serve.Handler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(("POST", self.path))
            self.send_response(200)
            self.end_headers()
            if self.path == "/report":
                told.update(json.loads(body))
                done.set()

        def send_head(self) -> Any:
            asked.append((self.command, self.path))
            return super().send_head()

        def log_message(self, *_: Any) -> None:
            pass

    with serve.server(str(site), 0, Handler) as server, running(server.serve_forever):
        url = f"http://127.0.0.1:{server.server_address[1]}/page.html"
        video = f"--use-file-for-fake-video-capture={camera_frame.with_suffix('.mjpeg')}"
        profile = f"--user-data-dir={tmp_path_factory.mktemp('profile')}"
        process = subprocess.Popen([str(CHROMIUM), *QUIET, *CAMERA, video, profile, url], start_new_session=True,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        try:
            assert done.wait(PATIENCE), f"the page told nothing; it asked for {asked}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            server.shutdown()
    assert "error" not in told, told["error"]
    told.asked = asked
    return told


class running:
    """A function on a thread of its own, until it ends."""

    def __init__(self, function: Any) -> None:
        self.thread = threading.Thread(target=function)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: Any) -> None:
        self.thread.join()


def pairs(page: list[dict[str, Any]], faces: Faces) -> Iterator[tuple[dict[str, Any], int]]:
    """Each face of the page with the index of that of `align` whose centre lies nearest; no two with the same."""
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    found = [int(np.hypot(*(centres - f["next"][:2]).T).argmin()) for f in page]
    assert len(set(found)) == len(found)
    yield from zip(page, found, strict=True)


def same(page: list[dict[str, Any]], faces: Faces, count: int, limits: tuple[float, float] = STILL) -> None:
    assert len(page) == count
    assert faces.pose is not None
    for face, i in pairs(page, faces):
        side = float(np.sqrt((faces.boxes[i, 2:] - faces.boxes[i, :2]).prod()))
        if "box" in face:
            assert np.abs(np.array(face["box"][:4]) - faces.boxes[i]).max() < BOX
        for markup, points in faces.landmarks.items():
            assert np.abs(np.array(face["landmarks"][markup]) - points[i]).max() < limits[0] * side, markup
            assert np.abs(np.array(face["confidence"][markup]) - faces.confidence[markup][i]).mean() < 0.05
        angles = [faces.pose.yaw[i], faces.pose.pitch[i], faces.pose.roll[i]]
        assert np.abs(np.array(face["pose"]) - angles).max() < limits[1]


def test_the_example(shown: Shown, model: Model) -> None:
    same(shown["example"]["faces"], model.align(PHOTO, detector="own"), count=1)
    assert "1 face in" in shown["example"]["state"] and "WebAssembly" in shown["example"]["state"]
    assert shown["example"]["poses"].count("°") == 3


def test_each_of_several_faces(shown: Shown, model: Model) -> None:
    same(shown["several"]["faces"], model.align(several(), detector="own"), count=2)


def test_the_camera(shown: Shown, model: Model, camera_frame: Path) -> None:
    """A face is followed by the square that its points ask for: `align` must give the same for that square."""
    (face,) = shown["camera"]["faces"]
    same([face], model.align(camera_frame, boxes=box_from_square([[*face["square"], 0]])), count=1, limits=FILM)
    detected = square_from_box(model.detect(camera_frame, detector="own")[0])[0, :3]
    assert np.abs(np.array(face["square"]) - detected).max() < 0.1 * detected[2]
    assert "pictures a second" in shown["camera"]["state"]


def test_layers_and_broken_pictures(shown: Shown) -> None:
    assert all(shown[layer] > 100 for layer in ("points", "lines", "doubt", "pose")) and shown["again"] == 0
    assert "did not work" in shown["broken"]


def test_nothing_is_uploaded(shown: Shown) -> None:
    """The one thing that was sent is this test's report."""
    assert [path for method, path in shown.asked if method != "GET"] == ["/report"]
    assert not [path for _, path in shown.asked if "?" in path]
