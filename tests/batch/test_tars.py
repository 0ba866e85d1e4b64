"""Pictures inside tars: rows are those of the same pictures in a folder; what is broken costs its own row alone."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra [parquet])")

import pyarrow.parquet as pq
from helpers.batch_jobs import quiet, stop_after
from helpers.paths import PHOTO

from acdc_fast import Model
from acdc_fast.batch import job as batch
from acdc_fast.batch import tars
from acdc_fast.errors import InputError

NAMES = ("a.png", "b.jpg", "broken.jpg", "c.webp", "deep/er/d.PNG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures that differ in size, turn and number of faces, one that is broken, and what is no picture."""
    root = tmp_path / "photos"
    (root / "deep" / "er").mkdir(parents=True)
    with Image.open(PHOTO) as photo:
        face = photo.convert("RGB").crop((150, 30, 300, 210))
        for i, name in enumerate(NAMES):
            face.rotate(3 * i).resize((90 + 7 * i, 100)).save(root / name, None if name != "c.webp" else "WEBP")
    (root / "broken.jpg").write_bytes(b"no picture")
    (root / "a.txt").write_text("1")
    (root / "b.json").write_text("{}")
    return root


def packed(folder: Path, target: Path, names: Any = None) -> Path:
    """The folder's files as a tar, in this order."""
    files = names or sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    with tarfile.open(target, "w:gz" if target.suffix in (".gz", ".tgz") else "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in files:
            tar.add(folder / name, name)
    return target


def rows(model: Model, sources: Any, out: Path, **options: Any) -> list[dict[str, Any]]:
    batch.run_batch(model, sources, str(out), note=quiet, **options)
    found: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    return found


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".TGZ"])
def test_every_field_is_that_of_the_folder(ending: str, folder: Path, tmp_path: Path, model: Model) -> None:
    plain = rows(model, str(folder), tmp_path / "folder.parquet")
    assert [r["image"] for r in plain] == list(NAMES) and sum(len(r["scores"]) for r in plain) >= 3
    assert len({str(r["boxes"]) for r in plain if r["scores"]}) >= 3, "the faces do not differ"
    tar = packed(folder, tmp_path / f"photos{ending.lower()}").rename(tmp_path / f"photos{ending}")
    found = rows(model, str(tar), tmp_path / "tar.parquet")
    assert_same(plain, found, tar.name)
    order = [NAMES[i] for i in (3, 0, 4, 2, 1)]  # a tar is read in its own order
    packed(folder, tmp_path / "turned.tar", order)
    found = rows(model, str(tmp_path / "turned.tar"), tmp_path / "turned.parquet")
    assert_same([plain[i] for i in (3, 0, 4, 2, 1)], found, "turned.tar")


def assert_same(plain: list[dict[str, Any]], found: list[dict[str, Any]], label: str) -> None:
    """Every field of every row, but for the name that stands before."""
    assert len(plain) == len(found)
    for one, other in zip(plain, found, strict=True):
        assert other["image"] == f"{label}/{one['image']}"
        said = [error and error.partition(f"{one['image']}: ")[2] for error in (one["error"], other["error"])]
        assert said[0] == said[1] != ""
        for key in one.keys() - {"image", "error"}:
            assert one[key] == other[key], (other["image"], key)


def test_several_inputs_side_by_side(folder: Path, tmp_path: Path, model: Model) -> None:
    """Folder, two tars, a picture and a parquet file; cut off inside the second tar, and taken up there."""
    (tmp_path / "x").mkdir()
    first, second = packed(folder, tmp_path / "s.tar", ("b.jpg", "a.png")), tmp_path / "x" / "s.tar"
    packed(folder, second, ("c.webp", "a.txt", "deep/er/d.PNG", "broken.jpg"))
    pq.write_table(batch.pyarrow()[0].table({"path": [str(folder / "c.webp")]}), tmp_path / "t.parquet")
    sources = [str(p) for p in (folder, first, second, folder / "a.png", tmp_path / "t.parquet")]
    out = tmp_path / "o.parquet"
    found = rows(model, sources, out)
    names = [f"photos/{n}" for n in NAMES] + [f"{first}/{n}" for n in ("b.jpg", "a.png")]
    names += [f"{second}/{n}" for n in ("c.webp", "deep/er/d.PNG", "broken.jpg")] + ["a.png", str(folder / "c.webp")]
    assert [r["image"] for r in found] == names
    plain = rows(model, str(folder), tmp_path / "folder.parquet")
    assert_same(plain, found[:5], "photos")
    assert_same([plain[1], plain[0]], found[5:7], str(first))
    assert_same([plain[3], plain[4], plain[2]], found[7:10], str(second))
    for one, other in ((plain[0], found[10]), (plain[3], found[11])):
        assert {**one, "image": ""} == {**other, "image": ""}
    for count in (6, 8, 11):
        again = tmp_path / f"again{count}.parquet"
        stop_after(model, sources, again, count)
        tally = batch.run_batch(model, sources, str(again), note=quiet)
        assert (tally.resumed, tally.rows) == (count, 12) and pq.read_table(again).to_pylist() == found
    with pytest.raises(InputError, match="source"):
        batch.run_batch(model, sources[::-1], str(out))
    with pytest.raises(InputError, match="is named twice"):
        batch.run_batch(model, [str(first), f"{tmp_path}/x/../s.tar"], str(tmp_path / "twice.parquet"))
    with pytest.raises(InputError, match="no such file"):
        batch.run_batch(model, [str(first), str(tmp_path / "none.tar")], str(tmp_path / "none.parquet"))


def test_a_tar_that_changes_makes_another_job(folder: Path, tmp_path: Path, model: Model) -> None:
    tar, out = packed(folder, tmp_path / "s.tar", ("a.png", "b.jpg", "c.webp")), tmp_path / "o.parquet"
    stop_after(model, [str(tar)], out, 2)
    packed(folder, tar, ("b.jpg", "a.png", "c.webp"))
    with pytest.raises(InputError, match="images differ"):
        batch.run_batch(model, str(tar), str(out))
    assert [r["image"] for r in rows(model, str(tar), out, overwrite=True)] == [
        "s.tar/b.jpg",
        "s.tar/a.png",
        "s.tar/c.webp",
    ]
    assert batch.run_batch(model, str(tar), str(out)).resumed == 3
    os.utime(tar, (1, 1))
    with pytest.raises(InputError, match="images differ"):
        batch.run_batch(model, str(tar), str(out))


def test_members_that_are_no_pictures_to_read(
    folder: Path, tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links, devices and huge members give a line each; the pictures around them are read."""
    monkeypatch.setattr(tars, "MAX_BYTES", 40_000)
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(folder / "a.png", "./a.png")
        for kind, name in (
            (tarfile.SYMTYPE, "soft.jpg"), (tarfile.LNKTYPE, "hard.jpg"), (tarfile.CHRTYPE, "device.jpg"),
            (tarfile.FIFOTYPE, "fifo.jpg"), (tarfile.DIRTYPE, "folder.jpg"), (tarfile.SYMTYPE, "soft.txt"),
        ):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "./a.png"
            tar.addfile(member)
        member = tarfile.TarInfo("huge.jpg")
        member.size = 40_001
        tar.addfile(member, io.BytesIO(bytes(40_001)))
        tar.add(folder / "b.jpg", "../../b.jpg")
    found = rows(model, str(tmp_path / "s.tar"), tmp_path / "o.parquet")
    assert [(r["image"].removeprefix("s.tar/"), (r["error"] or "").partition(": ")[2][:20]) for r in found] == [
        ("a.png", ""), ("soft.jpg", "is a link, which is "), ("hard.jpg", "is a link, which is "),
        ("device.jpg", "is not a regular fil"), ("fifo.jpg", "is not a regular fil"),
        ("huge.jpg", "is larger than the l"), ("../../b.jpg", ""),
    ]  # fmt: skip
    plain = rows(model, str(folder), tmp_path / "folder.parquet")
    assert found[0]["boxes"] == plain[0]["boxes"] and found[-1]["boxes"] == plain[1]["boxes"] != found[0]["boxes"]


def entries(path: Path) -> list[tuple[str, str]]:
    """Name and what is wrong, of every entry; the data that is right lies in the tar."""
    tar = tars.Tar(str(path), "s")
    data = list(tar.after(0))
    assert len(data) == len(tar.names)
    return [
        (n, str(d).partition(": ")[2] if isinstance(d, InputError) else "")
        for n, d in zip(tar.names, data, strict=True)
    ]


def damage(data: bytes, second: int) -> list[tuple[str, bytes, int, str]]:
    """What is wrong, the bytes, how many pictures are read, and the one line. ``second``: the second header's place."""
    swapped = data[:second] + b"\xff" * 512 + data[second + 512 :]
    negative, long = tarfile.TarInfo("n.jpg"), tarfile.TarInfo("l")
    negative.size, long.size, long.type = -512 * 3, 1 << 40, tarfile.GNUTYPE_LONGNAME
    headers = [m.tobuf(tarfile.GNU_FORMAT) for m in (negative, long)]
    pax = tarfile.TarInfo("p.jpg")
    pax.pax_headers = {"size": "-1536"}
    headers.append(pax.tobuf(tarfile.PAX_FORMAT))
    return [
        ("damaged header", swapped, 1, "damaged header: bad checksum"),
        ("cut inside a member", data[: second + 512 + 100], 1, "is cut off: the tar ends inside it"),
        ("cut inside a header", data[: second + 100], 1, "truncated header"),
        ("no end", data[:second], 1, "without the mark of a tar's end"),
        ("two joined", data + data, 2, "more follows after its end"),
        ("empty", b"", 0, "without the mark of a tar's end"), ("no tar", b"no tar" * 999, 0, "damaged header"),
        *((f"header {i}", data[:second] + h + data[second:], 1, "damaged header") for i, h in enumerate(headers)),
    ]  # fmt: skip


def test_broken_tars_give_one_line_and_what_is_whole(folder: Path, tmp_path: Path) -> None:
    tar = packed(folder, tmp_path / "s.tar", ("a.png", "b.jpg"))
    with tarfile.open(tar) as opened:
        second = opened.getmembers()[1].offset
    whole = [(folder / name).read_bytes() for name in ("a.png", "b.jpg")]
    assert list(tars.Tar(str(tar), "s").after(0)) == whole and list(tars.Tar(str(tar), "s").after(1)) == whole[1:]
    for what, data, good, line in damage(tar.read_bytes(), second):
        for pack in (bytes, gzip.compress):
            (tmp_path / "d.tar").write_bytes(pack(data))
            found = entries(tmp_path / "d.tar")
            assert [reason for _, reason in found[:good]] == [""] * good, what
            assert len(found) == good + 1 and line in found[-1][1] and "\n" not in found[-1][1], (what, found)
            assert list(tars.Tar(str(tmp_path / "d.tar"), "s").after(0))[:good] == whole[:good]
    text = gzip.compress(tar.read_bytes())
    (tmp_path / "d.tar").write_bytes(text[:-8] + bytes(4) + text[-4:])  # another checksum
    assert [bool(reason) for _, reason in entries(tmp_path / "d.tar")] == [False, False, True]
    (tmp_path / "d.tar").write_bytes(text[: len(text) // 2])
    assert any(reason for _, reason in entries(tmp_path / "d.tar"))
    packed(folder, tmp_path / "none.tar", ("a.txt",))
    assert entries(tmp_path / "none.tar")[0][1].startswith("holds no images")


def test_a_broken_tar_costs_its_own_rows_alone(folder: Path, tmp_path: Path, model: Model) -> None:
    tar = packed(folder, tmp_path / "s.tar", ("a.png", "b.jpg"))
    data = tar.read_bytes()
    (tmp_path / "broken.tar").write_bytes(b"no tar" * 999)
    (tmp_path / "cut.tar").write_bytes(data[: data.rindex(b"b.jpg") + 900])
    sources = [str(tmp_path / name) for name in ("broken.tar", "cut.tar", "s.tar")]
    notes: list[str] = []
    tally = batch.run_batch(model, sources, str(tmp_path / "o.parquet"), note=notes.append)
    assert (tally.rows, tally.broken) == (5, 2) and len(notes) == 2
    assert notes[0].startswith("broken.tar: is no whole tar") and notes[1].startswith("cut.tar/b.jpg: is cut off")
    found = pq.read_table(tmp_path / "o.parquet").to_pylist()
    assert [r["image"] for r in found] == ["broken.tar", "cut.tar/a.png", "cut.tar/b.jpg", "s.tar/a.png", "s.tar/b.jpg"]
    assert {**found[1], "image": ""} == {**found[3], "image": ""} and found[4]["boxes"] != found[3]["boxes"]
