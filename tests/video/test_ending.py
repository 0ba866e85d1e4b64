"""A film that was cut is told, and no whole one is accused, whatever its container, its rate and its sound."""

from __future__ import annotations

import json
import struct
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

av = pytest.importorskip("av", reason="PyAV is not installed (extra [video])")

from helpers.films import COUNT, film, read  # noqa: E402

from acdc_fast.commands import cli  # noqa: E402
from acdc_fast.video.ending import Ending  # noqa: E402


def cut(path: Path, share: float = 2 / 3) -> Path:
    data, shorter = path.read_bytes(), path.with_name(f"cut{path.suffix}")
    shorter.write_bytes(data[: round(len(data) * share)])
    return shorter


WHOLE = {
    "mp4": {"path": "a.mp4"},
    "mov": {"path": "a.mov"},
    "mkv": {"path": "a.mkv"},
    "avi": {"path": "a.avi", "codec": "mpeg4"},
    "webm": {"path": "a.webm", "codec": "libvpx-vp9"},
    "gif": {"path": "a.gif", "codec": "gif"},
    "ts": {"path": "a.ts"},
    "mpg": {"path": "a.mpg", "codec": "mpeg2video"},
    "flv": {"path": "a.flv", "codec": "flv"},
    "one frame": {"path": "a.mkv", "count": 1},
    "faststart": {"path": "a.mp4", "movflags": "faststart"},
    "fragments": {"path": "a.mp4", "movflags": "frag_keyframe+empty_moov"},
    **{f"long sound {e}": {"path": f"a.{e}", "sound": 8.0} for e in ("mp4", "mkv", "mov")},
    "long sound avi": {"path": "a.avi", "codec": "mpeg4", "sound": 8.0},
    "long sound webm": {"path": "a.webm", "codec": "libvpx-vp9", "sound": 8.0},
    "long sound flv": {"path": "a.flv", "codec": "flv", "sound": 8.0},
    **{f"late start {e}": {"path": f"a.{e}", "time": lambda i: i + 500} for e in ("mp4", "mkv")},
    **{f"rate changes {e}": {"path": f"a.{e}", "time": lambda i: i * i} for e in ("mp4", "mkv")},
    "slides flv": {"path": "a.flv", "codec": "flv", "time": lambda i: i * 125, "count": 5},
    "late start faststart": {"path": "a.mp4", "movflags": "faststart", "time": lambda i: i + 500},
    **{f"slides {e}": {"path": f"a.{e}", "time": lambda i: i * 125, "count": 5} for e in ("mp4", "mkv")},
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_film_is_not_accused(name: str, tmp_path: Path) -> None:
    how = dict(WHOLE[name])
    assert read(film(tmp_path / how.pop("path"), **how)) == (how.get("count", COUNT), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_a_film_whose_edit_list_leaves_a_part_out_is_whole(ending: str, tmp_path: Path) -> None:
    """An editor trims a film without encoding it anew: the list says from where to where it is shown."""
    path = film(tmp_path / f"a.{ending}")
    data = bytearray(path.read_bytes())
    place = data.index(b"elst")
    version, entries, length, start = struct.unpack(">IIIi", data[place + 4 : place + 20])
    assert (version, entries) == (0, 1)
    scale = struct.unpack(">I", data[(p := data.index(b"mdhd")) + 16 : p + 20])[0]
    data[place + 12 : place + 20] = struct.pack(">Ii", length // 4, start + int(0.8 * scale))
    path.write_bytes(data)
    count, broken = read(path)
    assert 5 < count < 20 and broken is None


def test_a_cover_is_not_a_film_that_ends_early() -> None:
    class Cover:
        disposition, duration, time_base, start_time = 0x400, 200, Fraction(1), None
        frames, metadata = 0, {}

    film = SimpleNamespace(format=SimpleNamespace(name="mp3"))
    assert Ending(film, Cover()).missing() is None
    Cover.disposition = 0
    assert Ending(film, Cover()).missing() == "ends after 0.0 of 200.0 seconds"


#: Their header says how long they are; the others are told by their last frame.
HEADED = ("faststart", "mkv", "webm", "flv", "avi", "late start faststart", "long sound mkv", "rate changes mkv")


@pytest.mark.parametrize("name", [*HEADED, "fragments", "ts", "mpg"])
def test_a_cut_film_is_told(name: str, tmp_path: Path) -> None:
    how = dict(WHOLE[name])
    count, broken = read(cut(film(tmp_path / how.pop("path"), **how)))  # type: ignore[arg-type]
    assert 10 < count < COUNT and broken is not None
    assert ("ends after" in broken) if name in HEADED else broken.endswith("ends in the middle of a frame")


def test_a_film_cut_within_its_last_frame_is_told(tmp_path: Path) -> None:
    """So little is missing that the time does not tell it."""
    path = film(tmp_path / "a.mp4", movflags="faststart")
    count, broken = read(cut(path, 0.99))
    assert 35 < count < COUNT and broken == f"{tmp_path / 'cut.mp4'}: ends in the middle of a frame"


@pytest.mark.parametrize("how", [{"path": "a.mp4", "movflags": "faststart"}, {"path": "a.mkv"}])
@pytest.mark.parametrize("out", ["o.jsonl", "o.mp4"])
def test_the_command_says_so_and_keeps_what_came_before(
    how: dict[str, str], out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = dict(how)
    source, out = cut(film(tmp_path / how.pop("path"), **how)), str(tmp_path / out)  # type: ignore[arg-type]
    assert cli.main(["video", str(source), "-o", out, "--weights", "acdc-w16-phone", "--detector", "own"]) == 2
    assert capsys.readouterr().err.strip() == f"acdc-fast: {source}: ends after 1.0 of 1.6 seconds"
    if out.endswith(".jsonl"):
        lines = [json.loads(line)["frame"] for line in Path(out).read_text().splitlines()]
        assert lines == list(range(len(lines))) and len(lines) == read(source)[0] > 20
    else:
        assert read(Path(out)) == (read(source)[0], None)
