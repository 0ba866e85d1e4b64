"""Anything that holds a picture → upright RGB and grey arrays, or one clear line saying why not."""

from __future__ import annotations

import contextlib
import ctypes.util
import functools
import io
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import InputError

# Pillow logs some faults of files as errors, beside those that it raises. Where nobody set up a log, Python would print
# them to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

#: Larger pictures are refused before they are decoded: 100 Mpixel take 300 MB as RGB.
MAX_PIXELS = 100_000_000
#: So are larger files: 100 Mpixel of 16 bits and four channels fit.
MAX_BYTES = 1 << 30

#: path | H×W[×1|×3|×4] uint8 or uint16 array | PIL image | bytes of an image file | such a file, opened to read bytes
ImageLike = Any


@dataclass(frozen=True)
class Picture:
    """One image, upright: EXIF rotation is applied, transparency lies on white, 16-bit values keep their high byte."""

    rgb: np.ndarray  # (H, W, 3) uint8
    name: str | None  # path, where one was given

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])


#: Shares of red, green and blue in 65536ths, as Pillow has them.
LUMA = np.array([19595, 38470, 7471], np.float32)


def luma(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 → (H, W) float32, whole numbers from 0 to 255: grey of ITU-R 601, as Pillow computes it.

    The sums are whole numbers below 2²⁴, so float32 holds them exactly, in any order. Pillow itself takes twice as long
    for a part of a picture. Some rows at a time, which the CPU's cache holds."""
    grey = np.empty(rgb.shape[:2], np.float32)
    step = max(1, (1 << 16) // max(1, rgb.shape[1]))
    for top in range(0, len(rgb), step):
        np.matmul(rgb[top : top + step].astype(np.float32), LUMA, out=grey[top : top + step])
    grey += 32768
    grey /= 65536
    return np.floor(grey, out=grey)


def load_picture(image: ImageLike, name: str | None = None) -> Picture:
    """The picture, of an animation the first frame. ``name``: for messages, if the image has no path.

    Raises `InputError`, one line that names the file or says what the array is."""
    if isinstance(image, Picture):
        return image
    if isinstance(image, (str, os.PathLike)):
        path = str(os.fspath(image))
        return Picture(_from_file(path), path)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return Picture(_from_bytes(bytes(image), name or "the image"), name)
    if hasattr(image, "read"):
        name = name or (image.name if isinstance(getattr(image, "name", None), str) else None)
        return Picture(_from_bytes(_read(image, name or "the open file"), name or "the open file"), name)
    if isinstance(image, Image.Image):
        return Picture(_decoded(image, name or "the PIL image"), name)
    if isinstance(image, np.ndarray):
        return Picture(_from_array(image), name)
    known = "a path, a numpy array, a PIL image, bytes or an open file"
    raise InputError(f"an image is {known}, not {type(image).__name__}")


def _from_file(name: str) -> np.ndarray:
    return _from_bytes(bytes_of(name), name)


def bytes_of(name: str) -> bytes:
    """What a picture's file holds, undecoded. Raises `InputError`."""
    path = Path(name)
    try:
        if path.is_dir():
            raise InputError(f"{name}: is a folder, not an image")
        if not path.exists():
            address = re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE)
            raise InputError(f"{name}: {'is an address, not a file; download it first' if address else 'no such file'}")
        if not path.is_file():
            raise InputError(f"{name}: is not a regular file")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{name}: is larger than the limit of {MAX_BYTES >> 20} MiB")
        if not path.stat().st_size:  # such as /proc/kmsg, which is a regular file by its name and would never end
            raise InputError(f"{name}: is empty")
        with open(path, "rb") as file:
            return _read(file, name)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise InputError(f"{name!r}: cannot be read ({_line(error)})") from error


def _read(file: Any, name: str) -> bytes:
    """What is left of an open file."""
    try:
        data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise InputError(f"{name}: cannot be read ({_line(error)})") from error
    if not isinstance(data, bytes):
        raise InputError(f"{name}: gives {type(data).__name__}, not bytes: open it with mode 'rb'")
    if len(data) > MAX_BYTES:
        raise InputError(f"{name}: is larger than the limit of {MAX_BYTES >> 20} MiB")
    return data


def _from_bytes(data: bytes, name: str) -> np.ndarray:
    if not data:
        raise InputError(f"{name}: is empty")
    try:
        picture = Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: is not an image in a format that Pillow knows") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name}: is larger than the limit of {MAX_PIXELS // 10**6} Mpixel; scale it down") from error
    except Exception as error:  # a damaged header makes Pillow's plugins raise nearly anything
        raise InputError(f"{name}: is truncated or damaged ({_line(error)})") from error
    with picture:
        return _decoded(picture, name)


def _decoded(picture: Image.Image, name: str) -> np.ndarray:
    width, height = picture.size
    if width < 1 or height < 1:
        raise InputError(f"{name}: has no pixels")
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{name}: {width}×{height} is more than the limit of {MAX_PIXELS // 10**6} Mpixel; scale it down first"
        )
    if picture.format == "TIFF":
        _silence_libtiff()
    try:
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        return _rgb(upright, name)
    except InputError:
        raise
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise InputError(f"{name}: is truncated or damaged ({_line(error)})") from error


@functools.cache
def _silence_libtiff() -> None:
    """libtiff writes lines of its own to stderr about damaged files, beside the error that Pillow raises."""
    inside = sorted((Path(PIL.__file__).parent.parent / "pillow.libs").glob("libtiff*"))
    place = str(inside[0]) if inside else ctypes.util.find_library("tiff")
    if place is None:
        return
    with contextlib.suppress(OSError, AttributeError):  # another library, or one with other names: its lines stay
        library = ctypes.CDLL(place)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            handler = getattr(library, name)
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)


def _rgb(picture: Image.Image, name: str) -> np.ndarray:
    mode = picture.mode
    if mode.startswith("I;16") or mode == "I":
        values = np.asarray(picture.convert("I")) if mode != "I" else np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(f"{name}: 32-bit values beyond 16 bits; convert it to 8 or 16 bits first")
        return _grey_to_rgb((values >> 8).astype(np.uint8))
    if mode == "F":
        values = np.asarray(picture)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise InputError(f"{name}: floating-point values outside [0, 1]; convert it to 8 bits first")
        return _grey_to_rgb(np.rint(values * 255).astype(np.uint8))
    if mode == "LAB":
        raise InputError(f"{name}: CIELAB colours are not supported; convert it to RGB first")
    if mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in picture.info:
        return _on_white(np.asarray(picture.convert("RGBA")))
    return np.array(picture.convert("RGB"))


def _from_array(image: np.ndarray) -> np.ndarray:
    shape = "×".join(map(str, image.shape))
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim != 2 and (image.ndim != 3 or image.shape[2] not in (3, 4)):
        raise InputError(f"an image array has shape H×W, H×W×3 (RGB) or H×W×4 (RGBA), not {shape}")
    if image.size == 0:
        raise InputError(f"an image array of shape {shape} has no pixels")
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        raise InputError(f"an image array of {shape} is more than the limit of {MAX_PIXELS // 10**6} Mpixel")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        raise InputError(f"an image array holds uint8 or uint16, not {image.dtype}{_remedy(image)}")
    if image.ndim == 2:
        return _grey_to_rgb(image)
    return _on_white(image) if image.shape[2] == 4 else np.ascontiguousarray(image)


def _remedy(image: np.ndarray) -> str:
    """How an array of another type becomes a picture; or why it cannot."""
    if image.dtype.kind not in "fiub":
        return ""
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 255):  # nor where one is not a number
        return f": its values go from {low:g} to {high:g}, those of a picture from 0 to 255"
    if image.dtype.kind in "fb" and high <= 1:
        return ": use (image * 255.0).astype(numpy.uint8) for values in [0, 1]"
    return ": use image.astype(numpy.uint8)"


def _grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[:, :, None], 3, 2)


def _on_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[:, :, 3:].astype(np.uint16)
    return ((rgba[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _line(error: Exception) -> str:
    """The error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__
