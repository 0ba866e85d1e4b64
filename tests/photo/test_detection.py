"""The detector on the bundled portrait: one face at every scale, and none on an empty picture."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from helpers.paths import PHOTO
from PIL import Image

from acdc_fast.photo.detection import INSIDE, LONGEST, detect, distinct, overlap

FACE = np.array([178, 63, 267, 174])  # of the portrait, by eye


def portrait(scale: float = 1.0) -> np.ndarray:
    picture = Image.open(PHOTO).convert("RGB")
    return np.asarray(picture.resize([round(side * scale) for side in picture.size], Image.Resampling.LANCZOS))


@pytest.mark.parametrize("scale", [0.15, 0.4, 1.0, 3.0])
def test_found_once_at_every_scale(scale: float) -> None:
    assert scale * 512 < LONGEST or scale == 3.0  # the last is scaled down before the detector sees it
    boxes, scores = detect(portrait(scale))
    assert boxes.shape == (1, 4) and boxes.dtype == scores.dtype == np.float32
    # Boxes are whole pixels: at the smallest scale one pixel is an eighth of the face.
    assert overlap(boxes[0] / scale, FACE) > (0.7 if scale > 0.2 else 0.55)
    assert 0.4 <= scores[0] <= 1


def test_found_in_grey() -> None:
    grey = np.asarray(Image.fromarray(portrait()).convert("L"))
    boxes, _ = detect(grey[:, :, None].repeat(3, 2))
    assert len(boxes) == 1 and overlap(boxes[0], FACE) > 0.7


def test_a_face_that_fills_the_picture() -> None:
    """The picture is cut too close for the detector. The retries, with a smaller scale and a border, find the face."""
    x0, y0, x1, y1 = FACE + [8, 12, -8, -6]
    boxes, _ = detect(np.ascontiguousarray(portrait()[y0:y1, x0:x1]))
    assert len(boxes) == 1 and overlap(boxes[0], np.array([0, 0, x1 - x0, y1 - y0])) > 0.6


def test_two_faces_largest_first() -> None:
    small = portrait(0.5)
    both = np.zeros((512, 768, 3), np.uint8)
    both[:256, :256], both[:, 256:] = small, portrait()
    boxes, _ = detect(both)
    assert len(boxes) == 2
    assert overlap(boxes[0], FACE + [256, 0, 256, 0]) > 0.7 and overlap(boxes[1], FACE / 2) > 0.6


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 2), (40, 40), (300, 200)])
def test_nothing_on_plain_pictures(shape: tuple[int, int]) -> None:
    boxes, scores = detect(np.full((*shape, 3), 90, np.uint8))
    assert boxes.shape == (0, 4) and scores.shape == (0,)


def test_threads_agree() -> None:
    picture, results = portrait(0.5), []
    threads = [threading.Thread(target=lambda: results.append(detect(picture)[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all(np.array_equal(results[0], boxes) for boxes in results)


def test_overlap() -> None:
    assert overlap(np.array([0, 0, 2, 2]), np.array([1, 1, 3, 3])) == pytest.approx(1 / 7)
    assert overlap(np.array([0, 0, 1, 1]), np.array([2, 2, 3, 3])) == 0


@pytest.mark.parametrize("most", [0.0, 0.3, 0.5, 1.0])
def test_distinct_faces_one_by_one(most: float) -> None:
    """As the rule says it: the best first, each that no better one kept is the same face as."""
    rng = np.random.default_rng(5)
    low = rng.integers(0, 30, (60, 2))
    faces = np.concatenate([low, low + rng.integers(3, 25, (60, 2)), rng.choice([0.3, 0.5, 0.9], (60, 1))], 1)

    def area(box: np.ndarray) -> float:
        return float(np.prod(np.maximum(box[2:4] - box[:2], 0)))

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        shared = area(np.concatenate([np.maximum(a[:2], b[:2]), np.minimum(a[2:4], b[2:4])]))
        return shared > most * (area(a) + area(b) - shared) or shared > INSIDE * min(area(a), area(b))

    kept: list[int] = []
    for i in sorted(range(60), key=lambda i: -faces[i, 4]):
        if not any(same(faces[i], faces[k]) for k in kept):
            kept.append(i)
    assert 3 < len(kept) < 60 and distinct(faces, most) == kept
    assert distinct(faces[:1], most) == [0] and distinct(faces[:0], most) == []
