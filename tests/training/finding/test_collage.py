"""Collages: the boxes lie where the faces are pasted, and what is cut or unsure does not count."""

from __future__ import annotations

import numpy as np
import pytest

from acdc_fast.training.finding import collage as made
from acdc_fast.training.finding.collage import Canvas, Crop, collage


def face(second: bool = False) -> Crop:
    """A bright rectangle of 40×56 on black; ``second``: another one beside it, unsure."""
    image = np.zeros((120, 150), np.uint8)
    image[30:86, 50:90] = 250
    boxes, counts = [[50, 30, 90, 86]], [True]
    if second:
        image[30:86, 100:140] = 180
        boxes.append([100, 30, 140, 86])
        counts.append(False)
    return Crop(image, np.array(boxes, np.float32), np.array(counts))


def bounds(bright: np.ndarray) -> np.ndarray:
    y, x = np.nonzero(bright)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], float)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("size", [12.0, 47.0, 100.0])
def test_the_box_lies_on_the_face(monkeypatch: pytest.MonkeyPatch, degrees: int, size: float) -> None:
    monkeypatch.setattr(made, "_angle", lambda rng: np.deg2rad(degrees))
    monkeypatch.setattr(made, "_cover", lambda *args: None)
    pasted = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        canvas = Canvas(np.zeros((160, 160), np.float32), [], [])
        made._paste_face(canvas, np.ones((160, 160), bool), face(), size, rng)
        if not canvas.boxes:  # it lay beyond the border
            continue
        pasted += 1
        (box,) = canvas.boxes
        seen = bounds(canvas.image > 0.75 * canvas.image.max())
        inside = np.clip(box, 0, 160)
        np.testing.assert_allclose(inside, seen, atol=0.12 * size + 1)
        w, h = box[2:] - box[:2]
        assert np.sqrt(w * h) == pytest.approx(size, rel=0.02)
        assert (w < h) == (degrees in (0, 180))
    assert pasted >= 6


def test_faces_do_not_cover_each_other() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        canvas = collage([face()], [], 160, rng)
        for i, a in enumerate(canvas.boxes):
            for b in canvas.boxes[:i]:
                low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
                shared = np.maximum(high - low, 0).prod()
                assert shared < 0.35 * min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod())


def test_what_is_unsure_or_cut_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "_angle", lambda rng: 0.0)
    unsure = cut = 0
    for seed in range(60):
        canvas = Canvas(np.zeros((160, 160), np.float32), [], [])
        made._paste_face(canvas, np.ones((160, 160), bool), face(second=True), 40.0, np.random.default_rng(seed))
        if len(canvas.boxes) == 2:
            unsure += 1
            assert not canvas.counts[1]
        for box, counts in zip(canvas.boxes[:1], canvas.counts, strict=False):
            seen = np.clip(box, 0, 160)
            share = (seen[2:] - seen[:2]).prod() / (box[2:] - box[:2]).prod()
            if share < 0.45:
                cut += 1
                assert not counts
            if share > 0.7:
                assert counts
    assert unsure > 5 and cut > 0


def test_pictures_without_faces_are_there_too() -> None:
    rng = np.random.default_rng(0)
    counts = [len(collage([face()], [], 96, rng).boxes) for _ in range(60)]
    assert min(counts) == 0 and max(counts) >= 4
