"""Snippets of the documentation that are marked to be run, and the folder that they are run in.

A fenced block is run where the line above it is ``<!-- run -->``, or ``<!-- run: a, b -->`` if it needs the modules a
and b. Python blocks of one page share their names; a block without a language is a shell block.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from helpers.paths import PHOTO, ROOT
from helpers.patience import PATIENCE

BLOCK = re.compile(r"<!-- run(?:: (?P<needs>[^>]*?))? -->\n```(?P<language>\w*)\n(?P<text>.*?)^```$", re.S | re.M)


@dataclass(frozen=True)
class Snippet:
    """One block: its text, its language ("python" or "" for the shell) and the modules that it needs."""

    text: str
    language: str
    needs: tuple[str, ...]

    @property
    def missing(self) -> list[str]:
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


def snippets(page: Path) -> list[Snippet]:
    """The marked blocks of a page, in order."""
    found = []
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        needs = tuple(name.strip() for name in (match["needs"] or "").split(",") if name.strip())
        found.append(Snippet(match["text"], match["language"], needs))
    return found


def furnish(folder: Path) -> None:
    """The files that the guides name: ``photo.jpg``, ``examples/``, ``photos/``, ``film.mp4``; to train, ``data/``."""
    shutil.copy(PHOTO, folder / "photo.jpg")
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(PHOTO, folder / "photos" / name)
    if importlib.util.find_spec("av"):
        _film(folder / "film.mp4")
    if importlib.util.find_spec("torch") and importlib.util.find_spec("cv2"):
        from helpers.faces import write_faces

        (folder / "data").mkdir()
        write_faces(folder / "data")
    command = folder / "bin" / "acdc-fast"  # this checkout's command, not an installed one
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m acdc_fast.commands.cli "$@"\n')
    command.chmod(0o755)


def _film(path: Path) -> None:
    """Six frames of the photo."""
    import av
    import numpy as np
    from PIL import Image

    rgb = np.asarray(Image.open(PHOTO).convert("RGB").resize((256, 256)))
    with av.open(str(path), "w") as film:
        stream = film.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        for _ in range(6):
            for packet in stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")):
                film.mux(packet)
        for packet in stream.encode():
            film.mux(packet)


#: Runs in a process of its own: a page may register markups or set what it likes.
RUNNER = """
import json, os, subprocess, sys
names = {"__name__": "__main__"}
for language, text in json.load(sys.stdin):
    if language == "python":
        exec(compile(text, "<snippet>", "exec"), names)
    else:
        subprocess.run(["sh", "-ec", text], check=True)
"""


def run(
    blocks: list[Snippet], folder: Path, environment: dict[str, str], limit: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """Runs the blocks, in order, in a folder with these files."""
    import json

    told = json.dumps([(b.language, b.text) for b in blocks])
    return subprocess.run(
        [sys.executable, "-c", RUNNER], input=told, text=True, capture_output=True, cwd=folder, timeout=limit,
        env={**environment, "PATH": f"{folder / 'bin'}:{environment.get('PATH', '')}", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
