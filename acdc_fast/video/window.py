"""A live window by OpenCV's highgui, which is no dependency: it is used where it is installed with windows."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import InputError

#: Keys that end the display: q, Q and Esc.
ENDING = (ord("q"), ord("Q"), 27)


class Window:
    """Shows frames until q, Esc or the window's own button ends it. Raises `InputError` where no window can be."""

    def __init__(self, title: str) -> None:
        self.title, self.cv2 = title, _highgui()
        try:
            self.cv2.namedWindow(title, self.cv2.WINDOW_NORMAL | self.cv2.WINDOW_KEEPRATIO)
        except self.cv2.error as error:
            raise InputError(f"--display: no window can be opened ({' '.join(str(error).split())[:200]})") from error

    def __enter__(self) -> Window:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.cv2.destroyAllWindows()

    def show(self, rgb: np.ndarray) -> bool:
        """(H, W, 3) uint8 RGB. False where the user wants no more."""
        self.cv2.imshow(self.title, np.ascontiguousarray(rgb[:, :, ::-1]))  # OpenCV takes BGR
        if self.cv2.waitKey(1) & 0xFF in ENDING:
            return False
        return bool(self.cv2.getWindowProperty(self.title, self.cv2.WND_PROP_VISIBLE) >= 1)


def _highgui() -> Any:
    """cv2 with windows, on a machine with a screen."""
    # Qt inside OpenCV would end the process where there is no screen, so this is asked first.
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise InputError("--display: there is no screen here (DISPLAY is not set); use -o instead")
    try:
        import cv2
    except ImportError as error:
        raise InputError(f"--display needs OpenCV with windows ({error}): pip install opencv-python") from error
    if "GUI: NONE" in " ".join(cv2.getBuildInformation().split()):
        raise InputError("--display: this OpenCV has no windows; put opencv-python in the place of the headless one")
    return cv2
