"""Damage within a film is told, the frames around it are kept, and no whole film is accused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("av", reason="PyAV is not installed (extra [video])")

from helpers.films import film, read

from acdc_fast.commands import cli
from acdc_fast.video.damage import GAP, STEPS, Damage

COUNT = 60
HOW = {
    "mp4": {"movflags": "faststart"}, "mov": {}, "mkv": {}, "ts": {}, "flv": {"codec": "flv"},
    "avi": {"codec": "mpeg4"}, "mpg": {"codec": "mpeg2video"}, "webm": {"codec": "libvpx-vp9"},
}  # fmt: skip


def damaged(path: Path, at: float, length: int) -> Path:
    """A copy with other bytes in one place."""
    data, start = bytearray(path.read_bytes()), round(path.stat().st_size * at)
    data[start : start + length] = np.random.default_rng(0).bytes(length)
    other = path.with_name(f"damaged{path.suffix}")  # of one that is damaged already: the same
    other.write_bytes(data)
    return other


@pytest.mark.parametrize("ending", HOW)
def test_a_hole_in_the_middle_is_told_and_the_film_goes_on(ending: str, tmp_path: Path) -> None:
    path = film(tmp_path / f"a.{ending}", count=COUNT, **HOW[ending])  # type: ignore[arg-type]
    assert read(path) == (COUNT, None)
    hole = damaged(path, 0.4, path.stat().st_size // 4)
    count, told = read(hole)
    assert 30 < count < COUNT and told is not None and told.startswith(f"{hole}: ")
    if ending != "avi":  # there the frames after the hole get earlier times
        assert any(word in told for word in ("lost", "damaged", "no frames from"))


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "flv", "mov"])
def test_a_few_wrong_bytes_are_told(ending: str, tmp_path: Path) -> None:
    path = film(tmp_path / f"a.{ending}", count=COUNT, **HOW[ending])  # type: ignore[arg-type]
    for at in (0.3, 0.4, 0.5, 0.6, 0.7):  # not every wrong byte leaves something that cannot be
        path = damaged(path, at, 64)
    count, told = read(path)
    assert count > 40 and told is not None


def test_the_command_says_so_and_goes_on_after_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = film(tmp_path / "a.mov", count=COUNT)
    hole, out = damaged(path, 0.4, path.stat().st_size // 4), tmp_path / "o.jsonl"
    assert cli.main(["video", str(hole), "-o", str(out), "--weights", "acdc-w16-phone", "--detector", "own"]) == 2
    said = capsys.readouterr().err.strip()
    assert said == f"acdc-fast: {read(hole)[1]}" and "frames are lost" in said
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == read(hole)[0] and lines[-1]["time"] == pytest.approx((COUNT - 1) / 25)


def told(time: Callable[[int], float | None], count: int = 2 * STEPS) -> str | None:
    damage = Damage()
    for i in range(count):
        damage.add_frame(SimpleNamespace(time=time(i), is_corrupt=False))
    return damage.told()


def test_a_gap_counts_only_in_an_even_film() -> None:
    lost = GAP / 1000 / 0.04 + 1
    assert told(lambda i: 0.04 * (i + lost * (i >= 30))) == "there are no frames from 1.16 to 1.44 seconds"
    assert told(lambda i: round(0.0417 * (i + lost * (i >= 30)), 3)) is not None, "times in whole milliseconds"
    assert told(lambda i: 0.04 * (i + 2 * (i >= 30))) is None, "a dropped frame or two"
    assert told(lambda i: 0.04 * (i + lost * (i >= 9)), STEPS - 2) is None, "too short to know what is usual"
    assert told(lambda i: 0.04 * (i + lost * (i // 10))) is None, "it pauses every now and then"
    rng = np.random.default_rng(0).uniform(0, 0.02, 99)
    assert told(lambda i: 0.04 * (i + lost * (i >= 30)) + float(rng[i])) is None, "a phone's own times"
    assert told(lambda i: 0.5 * i) is None and told(lambda i: None) is None
