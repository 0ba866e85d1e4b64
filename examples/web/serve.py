"""Hands the page out on this machine: `python examples/web/serve.py [FOLDER]`.

Any web server does. With the two headers below the browser lets WebAssembly use several threads.
"""

from __future__ import annotations

import argparse
import functools
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Handler(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


def server(folder: str, port: int = 0, handler: type[Handler] = Handler) -> ThreadingHTTPServer:
    """Only this machine can reach it. Port 0: any that is free."""
    return ThreadingHTTPServer(("127.0.0.1", port), functools.partial(handler, directory=folder))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="out/web", help="what make_page.py has made (%(default)s)")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    with server(options.folder, options.port) as running:
        print(f"http://localhost:{options.port} (Ctrl-C ends it)")
        running.serve_forever()
