"""The page of an evaluation holds all it shows, and shows the faces that are the worst."""

from __future__ import annotations

import argparse
import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.faces import write_faces, write_weights
from PIL import Image

from acdc_fast import ACDCConfig, InputError
from acdc_fast.training.evaluation import evaluate
from acdc_fast.training.evaluation.page import UNCALIBRATED, WORDS
from acdc_fast.training.evaluation.page_figures import FACE, WORST
from acdc_fast.training.observations import observe_crops
from acdc_fast.training.sampling.batches import open_source
from acdc_fast.training.settings import Source

CONFIG = ACDCConfig(width=4, stages=2, markups=("2d5", "3d68"))


class Page(HTMLParser):
    """Addresses of all that the page loads or points to, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def evaluated(root: Path, *more: str) -> Page:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    out = root / "report.html"
    arguments = [str(root / "w.safetensors"), "--data-root", str(root), "--device", "cpu", "--databases", "mtfl/train"]
    assert evaluate.run(parser.parse_args([*arguments, "--report", str(out), *more])) == 0
    page = Page()
    page.feed(out.read_text(encoding="utf-8"))
    return page


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACDC_CACHE", str(tmp_path / "cache"))
    write_weights(tmp_path / "w.safetensors", CONFIG, resolution="32", licence="for <research> & play")
    return write_faces(tmp_path, 24)


def test_the_page_is_whole(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = evaluated(root)
    assert len(page.addresses) >= 2 + WORST and "script" not in page.tags
    for address in page.addresses:
        kind, _, data = address.partition("base64,")
        assert kind == "data:image/png;" and Image.open(io.BytesIO(base64.b64decode(data))).size[0] > 100
    told = capsys.readouterr().out
    error = re.search(r"2d5 NME %\s+([\d.]+)\s+([\d.]+)", told)
    assert error and error[2] in page.text  # the same tables as on the terminal
    assert "for <research> & play" in page.text  # escaped
    assert UNCALIBRATED in page.text  # these weights have no calibration
    assert all(f"{word}" in page.text and meaning in page.text for word, meaning in WORDS.items())


def test_what_a_reader_asks_first_comes_first(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was measured and the headline figure, then the words, then drawings; faces large; narrow screens meant."""
    evaluated(root)
    told = capsys.readouterr().out
    error = re.search(r"2d5 NME %\s+([\d.]+)\s+([\d.]+)", told)
    text = (root / "report.html").read_text(encoding="utf-8")
    assert error and f"<b>{error[2]} %</b>error (NME) of 2d5, mtfl/train" in text
    marks = ["Measured on mtfl/train (24 faces).", f"<b>{error[2]} %", "<summary>Words", "How many faces"]
    marks += ["worst faces", "All tables", "2d5 NME %"]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places) and 'name="viewport" content="width=device-width' in text
    faces = re.findall(r'src="data:image/png;base64,([^"]+)"><figcaption>faces/', text)
    sizes = {Image.open(io.BytesIO(base64.b64decode(face))).size for face in faces}
    assert len(faces) == WORST and sizes == {(FACE, FACE)}


def test_the_worst_faces_are_the_worst(root: Path) -> None:
    page = evaluated(root, "--limit", "12")
    network, _ = evaluate.load_network(root / "w.safetensors")
    seen = observe_crops(network, open_source(Source("mtfl", "train"), root), 32, torch.device("cpu"), 12)
    target, known = seen.labelled("2d5")
    gap = np.linalg.norm(seen.points[-1]["2d5"] - target, axis=2).mean(1)
    errors = 100 * gap / np.linalg.norm(target[:, 1] - target[:, 0], axis=1)
    names = [seen.annotations[known[i]].name for i in np.argsort(-errors, kind="stable")]
    shown = re.findall(r"(faces/\d+\.jpg): ([\d.]+) %", page.text)
    assert [name for name, _ in shown] == names[:WORST]
    assert [float(value) for _, value in shown] == pytest.approx(np.sort(errors)[::-1][:WORST], abs=0.06)


def test_what_is_there_is_replaced_only_when_asked(root: Path) -> None:
    """Whichever output it is, and before any work."""
    for option in ("--report", "--calibrate", "--pose", "--enough", "--presence"):
        (root / "mine").write_text("mine")
        with pytest.raises(InputError, match="mine: is there already; --overwrite"):
            evaluated(root, option, str(root / "mine"))
        assert (root / "mine").read_text() == "mine" and not (root / "report.html").exists()
    (root / "report.html").write_text("mine")
    assert evaluated(root, "--limit", "2", "--overwrite").text
