"""Pictures a second of the page in examples/web: headless Chromium on WebAssembly, a picture as its camera.

    python bench/browser.py [--weights acdc-w16-phone] [--seconds 20] [--size 640x480] [--runtime FOLDER]

Needs chromium, the extra [onnx] and `npm install` in examples/web (or ``--runtime``, the package's folder). The page
finds the face at every tenth picture and aligns it at each. Printed: median, least and most of what the page shows
twice a second, after the first two.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from PIL import Image

WEB = Path(__file__).resolve().parents[1] / "examples" / "web"
sys.path.insert(0, str(WEB))
import make_page  # noqa: E402
import serve  # noqa: E402

#: Opens the page in a frame, starts its camera and sends on each change of what it says.
WATCH = """<!doctype html><iframe src="index.html" width="900" height="900" allow="camera"></iframe><script>
const frame = document.querySelector("iframe"); let last = "";
setInterval(() => {
  const page = frame.contentDocument, said = page?.querySelector("#state")?.textContent;
  const still = frame.contentWindow.acdc && / ms /.test(said);
  if (still && last !== said) page.querySelector("#camera").click();
  if (said && said !== last) fetch("said", {method: "POST", body: last = said});
}, 20);</script>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="acdc-w16-phone")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--runtime", type=Path, default=make_page.RUNTIME.parent)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("chromium is not installed")
    said: list[str] = []
    ended = threading.Event()

    class Handler(serve.Handler):
        def do_POST(self) -> None:
            said.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()
            if sum("a second" in text for text in said) > 2 * options.seconds:
                ended.set()

        def log_message(self, *_: Any) -> None:
            pass

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        site = Path(scratch) / "site"
        make_page.make_page(site, options.weights, options.runtime / "dist")
        (site / "watch.html").write_text(WATCH)
        camera = Path(scratch) / "camera.jpg"
        size = tuple(int(side) for side in options.size.split("x"))
        Image.open(WEB.parent / "astronaut.jpg").crop((0, 0, 512, 384)).resize(size).save(camera, quality=95)
        film = camera.with_suffix(".mjpeg")
        film.write_bytes(camera.read_bytes() * 2)
        with serve.server(str(site), 0, Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
                       "--disable-background-networking", "--disable-component-update", "--disable-quic",
                       "--disable-dev-shm-usage", "--use-fake-ui-for-media-stream",
                       "--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}",
                       f"--user-data-dir={scratch}/profile",
                       f"http://127.0.0.1:{server.server_address[1]}/watch.html"]  # fmt: skip
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = subprocess.Popen(command, start_new_session=True, **quiet)  # type: ignore[call-overload]
            try:
                ended.wait(60 + 2 * options.seconds)
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                server.shutdown()
    rates = [float(re.findall(r"[\d.]+", text)[0]) for text in said if "a second" in text][2:]
    if not rates:
        raise SystemExit(f"the page said: {said}")
    engine = said[-1].split("(")[1].rstrip(")")
    print(f"{options.weights}, {options.size}, {engine}: {statistics.median(rates)} pictures a second")
    print(f"least {min(rates)}, most {max(rates)}, of {len(rates)} looks")


if __name__ == "__main__":
    main()
