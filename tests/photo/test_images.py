"""Every kind of picture becomes upright RGB; every kind of bad one becomes one line that names it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.patience import PATIENCE
from helpers.pictures import zoo
from PIL import Image

from acdc_fast.errors import InputError
from acdc_fast.photo import images
from acdc_fast.photo.images import load_picture, luma

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 20)).astype(np.uint8)
RGB = RNG.integers(0, 256, (12, 20, 3)).astype(np.uint8)


def saved(tmp_path: Path, picture: Image.Image, name: str, **options: object) -> Path:
    picture.save(tmp_path / name, **options)
    return tmp_path / name


def test_open_files_and_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RGB), "a.png")
    data = path.read_bytes()
    for image in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        assert np.array_equal(load_picture(image).rgb, RGB) and load_picture(data).name is None
    with open(path, "rb") as file:
        picture = load_picture(file)
    assert np.array_equal(picture.rgb, RGB) and picture.name == str(path)
    with pytest.raises(InputError, match="closed"):
        load_picture(file)
    with open(path.with_suffix(".txt"), "w+") as text, pytest.raises(InputError, match=r"a\.txt: gives str.*'rb'"):
        load_picture(text)


def test_a_long_file_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 1000)
    file = io.BytesIO(bytes(5000))
    with pytest.raises(InputError, match="the open file: is larger than the limit"):
        load_picture(file)
    assert file.tell() == 1001


def test_addresses_are_named_as_such() -> None:
    for address in ("https://example.org/a.jpg", "s3://bucket/a.png", "HTTP://x"):
        with pytest.raises(InputError, match="is an address, not a file; download it first"):
            load_picture(address)


def test_rgb_and_grey_files(tmp_path: Path) -> None:
    picture = load_picture(saved(tmp_path, Image.fromarray(RGB), "a.png"))
    assert np.array_equal(picture.rgb, RGB) and (picture.width, picture.height) == (20, 12)
    assert picture.name == str(tmp_path / "a.png")
    grey = load_picture(str(saved(tmp_path, Image.fromarray(GREY), "g.png")))
    assert np.array_equal(grey.rgb, GREY[:, :, None].repeat(3, 2)) and np.array_equal(luma(grey.rgb), GREY)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path: Path, orientation: int) -> None:
    """A camera stores the turned picture, and a tag that says how to turn it back."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    back = {1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270,
            7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}[orientation]  # fmt: skip
    stored = Image.fromarray(RGB)
    expected = stored if back is None else stored.transpose(back)
    path = saved(tmp_path, stored, "e.png", exif=exif)
    assert np.array_equal(load_picture(path).rgb, np.asarray(expected))
    with Image.open(path) as opened:
        assert np.array_equal(load_picture(opened).rgb, np.asarray(expected))


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    rgba = np.dstack([RGB, np.full((12, 20), 255, np.uint8)])
    rgba[0, 0, 3] = 0
    rgba[0, 1] = (100, 0, 200, 51)
    expected = RGB.copy()
    expected[0, 0] = 255
    expected[0, 1] = (224, 204, 244)  # 100·0.2 + 255·0.8, …
    assert np.array_equal(load_picture(rgba).rgb, expected)
    assert np.array_equal(load_picture(saved(tmp_path, Image.fromarray(rgba), "a.png")).rgb, expected)
    grey_alpha = Image.fromarray(np.dstack([GREY, np.zeros_like(GREY)]))
    assert (load_picture(saved(tmp_path, grey_alpha, "la.png")).rgb == 255).all()
    palette = Image.fromarray(RGB).quantize(8)
    path = saved(tmp_path, palette, "p.png", transparency=0)
    hidden = np.asarray(palette) == 0
    assert hidden.any() and (load_picture(path).rgb[hidden] == 255).all()


def test_sixteen_bits(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 257
    expected = GREY[:, :, None].repeat(3, 2)
    assert np.array_equal(load_picture(saved(tmp_path, Image.fromarray(deep), "d.png")).rgb, expected)
    assert np.array_equal(load_picture(saved(tmp_path, Image.fromarray(deep), "d.tif")).rgb, expected)
    assert np.array_equal(load_picture(deep).rgb, expected)
    assert np.array_equal(load_picture(RGB.astype(np.uint16) << 8).rgb, RGB)


def test_float_tiff(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(GREY.astype(np.float32) / 255), "f.tif")
    assert np.array_equal(luma(load_picture(path).rgb), GREY)
    path = saved(tmp_path, Image.fromarray(GREY.astype(np.float32)), "f.tif")
    with pytest.raises(InputError, match=r"f\.tif: floating-point values outside"):
        load_picture(path)


def test_cmyk_palette_bilevel_and_animation(tmp_path: Path) -> None:
    plain = Image.new("RGB", (16, 16), (200, 60, 60))
    cmyk = load_picture(saved(tmp_path, plain.convert("CMYK"), "c.jpg", quality=95)).rgb
    assert np.abs(cmyk.astype(int) - (200, 60, 60)).max() < 6  # JPEG
    assert np.array_equal(load_picture(saved(tmp_path, plain.quantize(4), "p.png")).rgb, np.asarray(plain))
    assert load_picture(saved(tmp_path, Image.new("1", (9, 9), 1), "b.png")).rgb.min() == 255
    second = Image.new("RGB", (16, 16), (0, 0, 255))
    path = saved(tmp_path, plain, "a.gif", save_all=True, append_images=[second])
    assert np.abs(load_picture(path).rgb.astype(int) - (200, 60, 60)).max() < 6
    path = saved(tmp_path, plain, "a.webp", save_all=True, append_images=[second], lossless=True)
    assert np.array_equal(load_picture(path).rgb, np.asarray(plain))


def test_lab_says_why_not() -> None:
    with pytest.raises(InputError, match="CIELAB"):
        load_picture(Image.new("LAB", (4, 4)))


def test_arrays() -> None:
    assert np.array_equal(load_picture(RGB).rgb, RGB)
    assert np.array_equal(luma(load_picture(GREY).rgb), GREY)
    assert np.array_equal(luma(load_picture(GREY[:, :, None]).rgb), GREY)
    assert np.array_equal(load_picture(RGB[::2, ::-1]).rgb, RGB[::2, ::-1])  # strided views
    for bad, word in (
        (RGB.astype(np.float32), "float32"), (RGB.astype(np.int64), "int64"), (GREY > 3, "bool"),
        (np.zeros((2, 3, 4, 5), np.uint8), "2×3×4×5"), (np.zeros((5, 5, 2), np.uint8), "5×5×2"),
        (np.zeros((0, 5), np.uint8), "no pixels"), (np.zeros(7, np.uint8), "7"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=word):
            load_picture(bad)
    for bad, word in (
        (RGB.astype(np.float32), r"float32: use image\.astype\(numpy\.uint8\)$"),
        (RGB.astype(np.int64), r"int64: use image\.astype\(numpy\.uint8\)$"),
        (RGB / 255.0, r"float64: use \(image \* 255\.0\)\.astype\(numpy\.uint8\) for values in \[0, 1\]$"),
        (RGB * 2.0, r"float64: its values go from [0-9]+ to [0-9]+, those of a picture from 0 to 255$"),
        (np.full((4, 4), np.nan), "from nan to nan"), (RGB.astype(complex), "complex128$"), (GREY > 3, "255.0"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=word):
            load_picture(bad)
    for bad in (3, None, [1, 2], {"a": 1}):
        with pytest.raises(InputError, match="a path, a numpy array, a PIL image, bytes or an open file"):
            load_picture(bad)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_files(tmp_path: Path) -> None:
    for name, word in zoo(tmp_path).items():
        with pytest.raises(InputError) as caught:
            load_picture(tmp_path / name)
        message = str(caught.value)
        assert name in message and word in message and "\n" not in message, message


def test_pipes_and_devices_are_refused() -> None:
    with pytest.raises(InputError, match="not a regular file"):
        load_picture("/dev/null")


def test_nul_byte_in_the_name() -> None:
    with pytest.raises(InputError):
        load_picture("a\0b.jpg")


def test_file_larger_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, Image.fromarray(RGB), "a.png")
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    with pytest.raises(InputError, match=r"a\.png: is larger"):
        load_picture(path)


TIFF = """
import sys
from acdc_fast.errors import InputError
from acdc_fast.photo.images import load_picture
for name in sys.argv[1:]:
    try:
        load_picture(name)
    except InputError as error:
        print(error)
"""


def test_libtiff_keeps_quiet(tmp_path: Path) -> None:
    """We write one line; the library below Pillow writes none."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(
        tmp_path / "a.tif", compression="tiff_lzw"
    )
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[:3000] + b"\xff" * (len(data) - 3400) + data[-400:])
    done = subprocess.run(
        [sys.executable, "-c", TIFF, str(tmp_path / "a.tif")], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stderr == "" and "a.tif: is truncated or damaged" in done.stdout and done.stdout.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_pillow_keeps_quiet(tmp_path: Path) -> None:
    """More samples for each pixel than Pillow decodes: it logs that, and Python's last resort is stderr (found by
    fuzzing)."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "TIFF")
    data = bytearray(file.getvalue())
    samples = (277).to_bytes(2, "little") + (3).to_bytes(2, "little") + (1).to_bytes(4, "little")
    where = data.index(samples) + len(samples)
    data[where : where + 2] = (74).to_bytes(2, "little")
    (tmp_path / "a.tif").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", TIFF, str(tmp_path / "a.tif")], capture_output=True, text=True, check=True
    )
    assert done.stderr == "" and "a.tif" in done.stdout, (done.stdout, done.stderr)


def test_special_files_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "pipe.jpg")
    names = [tmp_path / "pipe.jpg", tmp_path / "link.jpg", "/dev/zero", "/dev/stdin", "/proc/kmsg", "/proc/self/mem"]
    names = [str(name) for name in names if os.path.exists(name)]
    done = subprocess.run(
        [sys.executable, "-c", TIFF, *names], capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0 and len(done.stdout.splitlines()) == len(names), done.stderr + done.stdout


def test_grey_is_pillows() -> None:
    """To the bit: the corners of the cube of colours, and every level beside colours at random."""
    corners = np.array([[r, g, b] for r in (0, 1, 254, 255) for g in (0, 1, 254, 255) for b in (0, 1, 254, 255)])
    colours = np.random.default_rng(0).integers(0, 256, (300, 256, 3))
    colours[:, :, 1] = np.arange(256)
    for rgb in (corners[:, None].astype(np.uint8), colours.astype(np.uint8), colours.astype(np.uint8)[::3, ::-2]):
        assert np.array_equal(luma(rgb), np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).convert("L")))
        assert luma(rgb).dtype == np.float32
