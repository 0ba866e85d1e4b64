"""`detector="both"`: the network where it is sure, elsewhere what both see; the library only where it must."""

from __future__ import annotations

import numpy as np
import pytest

from acdc_fast.detector import pyramid
from acdc_fast.photo import agreement, detection
from acdc_fast.photo.detection import Search, detect

A, B, C, D = ([float(x), 10.0, x + 40.0, 60.0] for x in (0, 100, 200, 300))


def rows(*faces: tuple[list[float], float], shift: float = 0.0) -> np.ndarray:
    moved = [[box[0] + shift, box[1], box[2] + shift, box[3], score] for box, score in faces]
    return np.array(moved, float).reshape(-1, 5)


def test_overlaps() -> None:
    a = np.array([[0, 0, 10, 10, 0.5], [20, 20, 30, 40, 0.1]], float)
    b = np.array([[5, 0, 15, 10], [0, 0, 10, 10], [50, 50, 60, 60]], float)
    np.testing.assert_allclose(agreement.overlaps(a, b), [[1 / 3, 1, 0], [0, 0, 0]])
    assert agreement.overlaps(a, b[:0]).shape == (2, 0)


@pytest.mark.parametrize(
    "own, unsure",
    [(rows(), True), (rows((A, 0.95)), False), (rows((A, 0.85)), True), (rows((A, 0.95), (B, 0.6)), True),
     (rows((A, 0.95), (B, 0.4)), False), (rows((A, 0.3)), True)],
)  # fmt: skip
def test_where_the_library_must_look(own: np.ndarray, unsure: bool) -> None:
    assert agreement.unsure(own) is unsure


def test_what_counts() -> None:
    """The network's sure face A; B both see; C the library is sure of; D only the network sees; E the library alone."""
    elsewhere = [400.0, 10.0, 440.0, 60.0]
    own = rows((A, 0.95), (B, 0.25), (D, 0.85))
    library = rows((A, 0.9), (B, 0.5), (C, 0.85), (elsewhere, 0.7), shift=3)
    faces = agreement.agreed(own, library)
    np.testing.assert_allclose(faces, np.concatenate([rows((A, 0.95)), rows((B, 0.5), (C, 0.85), shift=3)]))
    assert agreement.agreed(rows(), rows((A, 0.6))).shape == (0, 5)
    assert len(agreement.agreed(rows((B, 0.5)), rows((B, 0.5), shift=25))) == 0  # too far apart to be one face


def test_the_library_is_asked_only_where_the_network_is_unsure(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Search] = []
    own = [rows()]
    monkeypatch.setattr(pyramid, "find", lambda rgb, least, *rest: own[0][own[0][:, 4] >= least])

    def library(rgb: np.ndarray, search: Search, threads: int | None) -> np.ndarray:
        asked.append(search)
        return rows((A, 0.9), (B, 0.5), shift=2)

    monkeypatch.setattr(detection, "_by_library", library)
    rgb = np.zeros((80, 500, 3), np.uint8)

    own[0] = rows((A, 0.95), (B, 0.3))
    boxes, scores = detect(rgb, Search("both"))
    np.testing.assert_allclose(boxes, [A])
    np.testing.assert_allclose(scores, [0.95], rtol=1e-6)
    assert asked == []

    own[0] = rows((A, 0.95), (B, 0.6))
    boxes, scores = detect(rgb, Search("both", min_size=20))
    np.testing.assert_allclose(boxes, [A, np.add(B, (2, 0, 2, 0))])
    np.testing.assert_allclose(scores, [0.95, 0.5], rtol=1e-6)
    assert [search.min_score for search in asked] == [agreement.TOGETHER] and asked[0].min_size == 20

    boxes, _ = detect(rgb, Search("both", min_score=0.6, max_faces=3))
    np.testing.assert_allclose(boxes, [A])
    own[0] = rows()
    assert len(detect(rgb, Search("both"))[0]) == 1  # the library's sure one
